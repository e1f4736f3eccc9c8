"""SavedModel: sample, complete and log_prob for processes with TensorFlow alone."""

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Iterator

import tensorflow as tf

from pixel_cnn_pp.checks import checked_tensor
from pixel_cnn_pp.errors import tensorflow_reason
from pixel_cnn_pp.files import FolderLock, Locked, check_folder_writable
from pixel_cnn_pp.images import first_rows, in_range
from pixel_cnn_pp.likelihood import bits_per_dim
from pixel_cnn_pp.model import PixelCNNPP
from pixel_cnn_pp.sampling.sampler import MIN_TEMPERATURE, Sampler

# A folder beside the new one, and what is in it until the model is whole.
STAGING, MODEL = ".export-", "model"


def check_export_dir(export_dir: str) -> None:
    """Raises FileExistsError if the folder has contents, ValueError if it cannot be
    written to."""
    if re.search(r"[*?\[\]\\]", os.path.abspath(export_dir)):
        raise ValueError(
            f"--export_dir={export_dir}: TensorFlow takes *, ?, [, ] and backslashes "
            "for patterns and could not load it; give a path without them."
        )
    try:
        os.fsencode(export_dir).decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"--export_dir={export_dir!a}: TensorFlow writes to names in UTF-8 alone; "
            "give such a path."
        ) from error
    empty = os.path.isdir(export_dir) and not os.listdir(export_dir)
    if os.path.lexists(export_dir) and not empty:
        raise FileExistsError(
            f"--export_dir={export_dir}: exists already; give a new folder."
        )
    check_folder_writable("export_dir", export_dir)


def export(model: PixelCNNPP, export_dir: str, jit_compile: bool = True) -> None:
    """Writes a SavedModel with the signatures of `Serving` to a new folder.

    All of it or nothing. jit_compile=False samples without XLA: slower, for servers
    that lack it. Raises what `check_export_dir` raises, ValueError where weights are
    NaN or infinite, Locked where another process exports to the same folder, OSError
    where the disk is full.
    """
    check_export_dir(export_dir)
    model.check_weights()
    saved = tf.Module()
    saved.parameters = model.tf_variables()
    with staging_folder(export_dir) as folder:
        check_export_dir(export_dir)  # Another process may have written it meanwhile.
        staged = os.path.join(folder, MODEL)
        signatures = Serving(model, jit_compile).signatures()
        try:
            tf.saved_model.save(saved, staged, signatures)
        except tf.errors.OpError as error:
            raise OSError(
                f"--export_dir={export_dir}: cannot be written "
                f"({tensorflow_reason(error)}); make room, or give another "
                "--export_dir."
            ) from error
        os.replace(staged, os.path.abspath(export_dir))


@contextlib.contextmanager
def staging_folder(export_dir: str) -> Iterator[str]:
    """A locked folder beside `export_dir`, for the model until it is whole.

    It is removed at the end, and so are those of processes that were killed.
    """
    parent, name = os.path.split(os.path.abspath(export_dir))
    folder = os.path.join(parent, f"{STAGING}{name}")
    is_new = not os.path.exists(folder)
    os.makedirs(folder, exist_ok=True)
    lock = FolderLock(folder, "export_dir", export_dir)
    try:
        if not is_staging(folder):
            raise OSError(
                f"--export_dir={export_dir}: the export is prepared in {folder}, which "
                "holds other files; give another --export_dir."
            )
        lock.acquire()
    except Locked:
        raise  # It is the other process's folder.
    except OSError:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        remove_left_overs(parent)
        shutil.rmtree(os.path.join(folder, MODEL), ignore_errors=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def is_staging(folder: str) -> bool:
    """Whether a folder holds nothing but what an export leaves in it."""
    return {MODEL, "lock"}.issuperset(os.listdir(folder))


def remove_left_overs(parent: str) -> None:
    """Removes staging folders whose lock no process holds."""
    for folder in glob.glob(os.path.join(glob.escape(parent), f"{STAGING}*")):
        # Locked by a process that exports, or another user's: not ours to remove.
        with contextlib.suppress(OSError):
            if is_staging(folder):
                with FolderLock(folder):
                    shutil.rmtree(folder)


class Serving:
    """The functions of a SavedModel, which check their inputs as they run.

    sample: num_images int32 [], seed int32 [2], temperature float32 [] → images uint8
    [N, H, W, C]; with labels int32 [N] in place of num_images where the model is
    class-conditional, as in all of them. complete: images uint8 [N, H, W, C], rows
    int32 [], seed, temperature → images. log_prob: images → log_prob float32 [N] in
    nats, bits_per_dim float32 [N]; a model of the energy distance has none.

    With more than 256 pixel values images are int32. Wrong values raise
    InvalidArgumentError with the name of the input, the rule and the value. See
    `PixelCNNPP.sample`, `complete` and `log_prob`.
    """

    def __init__(self, model: PixelCNNPP, jit_compile: bool = True):
        self.model = model
        self.sampler = model.sampler if jit_compile else Sampler(model, False)

    def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
        """Functions by the names that a SavedModel gives them."""
        rows = tf.TensorSpec([], tf.int32, "rows")
        # Of any shape, so that a wrong one is rejected by name.
        images = tf.TensorSpec(None, self.model.image_dtype, "images")
        seed = tf.TensorSpec(None, tf.int32, "seed")
        temperature = tf.TensorSpec([], tf.float32, "temperature")
        labels = [tf.TensorSpec(None, tf.int32, "labels")]
        if self.model.num_labels is None:
            number = tf.TensorSpec([], tf.int32, "num_images")
            sample = _function(self._sample_number, number, seed, temperature)
            labels = []
        else:
            sample = _function(self._sample_labels, *labels, seed, temperature)
        complete = _function(self._complete, images, rows, seed, temperature, *labels)
        signatures = {"serving_default": sample, "sample": sample, "complete": complete}
        if not self.model.energy_distance:
            signatures["log_prob"] = _function(self._log_prob, images, *labels)
        return signatures

    def _sample_number(self, num_images, seed, temperature):
        number = _check(num_images, num_images >= 1, "num_images", "must be above 0")
        return self._sample(tf.zeros([number], tf.int32), seed, temperature)

    def _sample_labels(self, labels, seed, temperature):
        return self._sample(self._check_labels(labels), seed, temperature)

    def _sample(self, labels, seed, temperature):
        shape = [tf.shape(labels)[0], *self.model.image_shape]
        images = tf.zeros(shape, self.model.image_dtype)
        return self._keep_rows(images, 0, seed, temperature, labels)

    def _complete(self, images, rows, seed, temperature, labels=None):
        images = self._check_images(images)
        height = self.model.image_shape[0]
        inside = (rows >= 0) & (rows <= height)
        rows = _check(rows, inside, "rows", f"must be from 0 to {height}")
        if labels is None:
            labels = tf.zeros([tf.shape(images)[0]], tf.int32)
        else:
            labels = self._check_labels_of(images, labels)
        return self._keep_rows(images, rows, seed, temperature, labels)

    def _keep_rows(self, images, rows, seed, temperature, labels):
        seed = _check_shape(seed, [2], "seed")
        fits = (temperature >= MIN_TEMPERATURE) & tf.math.is_finite(temperature)
        rule = f"must be {MIN_TEMPERATURE} or more and finite; 1 is the model's"
        if self.model.energy_distance:
            fits = tf.equal(temperature, 1.0)
            rule = "must be 1 for a model trained with the energy distance"
        temperature = _check(temperature, fits, "temperature", rule)
        keep = first_rows(rows, self.model.image_shape)
        keep = tf.broadcast_to(keep, tf.shape(images)[:3])
        first = tf.constant(0)
        inputs = images, keep, labels, seed, temperature, first
        return {"images": self.sampler.sample(*inputs)}

    def _log_prob(self, images, labels=None):
        images = self._check_images(images)
        if labels is not None:
            labels = self._check_labels_of(images, labels)
        nats = self.model.image_loss(images, labels)
        bits = bits_per_dim(nats, self.model.image_shape)
        return {"log_prob": -nats, "bits_per_dim": bits}

    def _check_images(self, images):
        shape, num_levels = self.model.image_shape, self.model.num_levels
        images = _check_shape(images, [None, *shape], "images")
        if num_levels == 256:
            return images
        rule = f"must have pixel values from 0 to {num_levels - 1}"
        bounds = tf.stack([tf.reduce_min(images), tf.reduce_max(images)])
        return _check(images, in_range(images, num_levels), "images", rule, bounds)

    def _check_labels_of(self, images, labels):
        labels = self._check_labels(labels)
        fits = tf.equal(tf.shape(labels)[0], tf.shape(images)[0])
        return _check(labels, fits, "labels", "must be one for each image")

    def _check_labels(self, labels):
        labels = _check_shape(labels, [None], "labels")
        num_labels = self.model.num_labels
        rule = f"must be from 0 to {num_labels - 1}"
        return _check(labels, in_range(labels, num_labels), "labels", rule)


def _function(function, *specs: tf.TensorSpec):
    return tf.function(function, input_signature=specs, autograph=False)


def _check(value, fits: tf.Tensor, name: str, rule: str, got=None) -> tf.Tensor:
    """`value` if it fits, see `checked_tensor`."""
    got = value if got is None else got
    return checked_tensor(value, fits, f"{name} {rule}; got", got)


def _check_shape(value, shape: list[int | None], name: str) -> tf.Tensor:
    """`value` if it has this shape; None as the first length stands for any N ≥ 1."""
    actual, rank = tf.shape(value), len(shape)
    lengths = tf.concat([actual, [0] * rank], axis=0)[:rank]
    wanted = [tf.maximum(lengths[0], 1) if n is None else n for n in shape]
    fits = tf.equal(tf.rank(value), rank) & tf.reduce_all(tf.equal(lengths, wanted))
    rule = f"must be [{', '.join('N' if n is None else str(n) for n in shape)}]"
    value = _check(value, fits, name, rule, actual)
    # Not tf.ensure_shape: from it TensorFlow's graph optimizer infers that the shape is
    # right, and removes the check.
    return tf.reshape(value, [-1 if n is None else n for n in shape])
