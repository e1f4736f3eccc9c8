"""Checkpoints of a run: write, find, read back; the model of a run."""

import concurrent.futures
import contextlib
import glob
import os
import re
import shutil
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from pixel_cnn_pp.config import Config
from pixel_cnn_pp.errors import tensorflow_reason
from pixel_cnn_pp.files import tensorflow_path
from pixel_cnn_pp.model import PixelCNNPP

CONFIG = "config.json"
FOLDER = "checkpoints"
KEPT = 2
RUN_ID = "counters/run_id/.ATTRIBUTES/VARIABLE_VALUE"
_NAME = re.compile(r"ckpt-(\d+)(?:-(\d+))?\.index$")

Groups = dict[str, dict[str, tf.Variable]]


class DoesNotFit(ValueError):
    """The variables of a checkpoint are not those of this model."""


def list_checkpoints(save_dir: str) -> list[tuple[int, str]]:
    """(step, prefix) of the complete checkpoints in a run's folder, newest first.

    Complete: TensorFlow writes the index last.
    """
    folder = os.path.join(save_dir, FOLDER)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    checkpoints = [
        (int(m[1]), int(m[2] or 0), os.path.join(folder, m[0].removesuffix(".index")))
        for m in map(_NAME.match, names)
        if m
    ]
    return [(step, prefix) for step, _, prefix in sorted(checkpoints, reverse=True)]


def write(save_dir: str, step: int, groups: Groups) -> str:
    """Writes all variables of all groups; returns the prefix.

    Older checkpoints but the newest are deleted once the new one is complete, and that
    of step 0. Raises OSError if the disk is full; the older ones then stay.
    """
    folder = os.path.join(tensorflow_path(save_dir), FOLDER)
    prefix = os.path.join(folder, f"ckpt-{step}")
    # An existing one is not overwritten: it would be torn for a moment.
    again = 1
    while os.path.exists(f"{prefix}.index"):
        prefix, again = os.path.join(folder, f"ckpt-{step}-{again}"), again + 1
    try:
        tf.train.Checkpoint(**groups).write(prefix)
    except tf.errors.OpError as error:
        # Also its index, which may be torn and would count as a checkpoint.
        for ending in (".index", ".data-*", "_temp*"):
            _remove(glob.escape(prefix) + ending)
        raise OSError(
            f"{prefix}: cannot be written ({tensorflow_reason(error)}); make room "
            "and resume with --resume, from the checkpoint before it."
        ) from error
    checkpoints = list_checkpoints(save_dir)
    kept = [pair for pair in checkpoints if step == 0 or pair[0] > 0][:KEPT]
    for _, old in set(checkpoints) - set(kept):
        # First the index, which makes it a checkpoint.
        _remove(f"{glob.escape(old)}.index")
        _remove(f"{glob.escape(old)}.data-*")
    # Parts of checkpoints that were being written when a run was killed.
    _remove(os.path.join(glob.escape(folder), "ckpt-*_temp*"))
    return prefix


def set_aside_newer(save_dir: str, step: int) -> None:
    """Renames checkpoints newer than `step`, from which a run resumes: they are damaged
    and must not count among those that are kept."""
    for newer, prefix in list_checkpoints(save_dir):
        if newer > step:
            os.replace(f"{prefix}.index", f"{prefix}.index.damaged")


class BackgroundWriter:
    """Writes checkpoints in a thread of its own, so that training does not wait.

    `write` copies the variables at once and returns.
    """

    def __init__(self):
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._last: concurrent.futures.Future | None = None

    def write(self, save_dir: str, step: int, groups: Groups) -> None:
        """As the function `write`, but `check` or `wait` raise its OSError later."""
        try:
            self.wait()
        except OSError as error:  # There may be room again.
            logging.warning("%s", error)
        copies = {
            group: {name: variable.numpy() for name, variable in variables.items()}
            for group, variables in groups.items()
        }
        self._last = self._thread.submit(self._write, save_dir, step, copies)

    def _write(self, save_dir, step, copies):
        with tf.device("CPU:0"):
            groups = {
                group: {name: tf.Variable(array) for name, array in arrays.items()}
                for group, arrays in copies.items()
            }
        write(save_dir, step, groups)

    def check(self) -> None:
        """Raises the OSError of a checkpoint that could not be written."""
        if self._last is not None and self._last.done():
            self.wait()

    def wait(self) -> None:
        """Waits for the last checkpoint; raises its OSError if it failed."""
        if self._last is not None:
            concurrent.futures.wait([self._last])
            last, self._last = self._last, None
            last.result()

    def close(self) -> None:
        """Ends the thread after the last checkpoint; nothing more can be written."""
        self._thread.shutdown()


def _remove(pattern: str) -> None:
    """Removes the files and folders that match."""
    for path in glob.glob(pattern):
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


@contextlib.contextmanager
def _errors_of_damage() -> Iterator[None]:
    """Within, a truncated, missing or altered file is an OpError: TensorFlow's reader
    raises IndexError for some."""
    try:
        yield
    except IndexError as error:
        raise tf.errors.OutOfRangeError(None, None, str(error)) from error


def open_reader(prefix: str):
    """TensorFlow's reader of a checkpoint, of any path; OpError as of `read_tensor`."""
    folder, name = os.path.split(prefix)
    with _errors_of_damage():
        return tf.train.load_checkpoint(os.path.join(tensorflow_path(folder), name))


def read_tensor(reader, key: str) -> np.ndarray:
    """A tensor of a checkpoint; OpError if its files are damaged."""
    with _errors_of_damage():
        return reader.get_tensor(key)


def read(prefix: str, groups: Groups, run_id: int = 0) -> None:
    """Sets each variable of the groups from a checkpoint; other groups may lie in it.

    With a `run_id` other than 0 it must be a checkpoint of that run. Those of version
    0.1.0 have no run_id.

    Raises ValueError that lists what is missing in the checkpoint, unknown to these
    groups, or of another shape.
    """
    reader = open_reader(prefix)
    shapes = reader.get_variable_to_shape_map()
    keys = {_name(key): key for key in shapes if key.partition("/")[0] in groups}
    if absent := sorted(set(groups) - {key.partition("/")[0] for key in shapes}):
        raise DoesNotFit(
            f"{prefix}: has no {', '.join(absent)}; a published model has the EMA "
            "parameters alone: use it without --noaveraged and --resume."
        )
    wanted = {
        f"{group}/{name}": variable
        for group, variables in groups.items()
        for name, variable in variables.items()
    }
    if RUN_ID in shapes:
        saved_id = int(read_tensor(reader, RUN_ID))
        if run_id and saved_id and saved_id != run_id:
            raise DoesNotFit(
                f"{prefix}: is a checkpoint of another run; put those of this run "
                "back, or train in another --save_dir."
            )
    else:
        wanted.pop("counters/run_id", None)
    check_fit(
        prefix,
        {name: variable.shape.as_list() for name, variable in wanted.items()},
        {name: shapes[key] for name, key in keys.items()},
    )
    for name, variable in wanted.items():
        variable.assign(read_tensor(reader, keys[name]))


def _name(key: str) -> str:
    """group/name of a key, in which TensorFlow writes each slash of a name as '.S'."""
    group, _, name = key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").partition("/")
    return f"{group}/{name.replace('.S', '/')}"


def check_fit(
    prefix: str, wanted: dict[str, list[int]], saved: dict[str, list[int]]
) -> None:
    """Raises DoesNotFit that lists all names and shapes that differ."""
    missing = sorted(set(wanted) - set(saved))
    unknown = sorted(set(saved) - set(wanted))
    reshaped = [
        f"{name} {saved[name]} for {shape}"
        for name, shape in wanted.items()
        if name in saved and saved[name] != shape
    ]
    if missing or unknown or reshaped:
        raise DoesNotFit(
            f"{prefix}: does not fit this model; "
            f"missing: {_listed(missing)}; unknown: {_listed(unknown)}; "
            f"of another shape: {_listed(reshaped)}."
        )


def _listed(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more


def read_newest(save_dir: str, groups: Groups, run_id: int = 0) -> int | None:
    """Reads the newest intact checkpoint; returns its step, None if there is none.

    A damaged one is reported and the one before it read. ValueError if all are damaged,
    or if the newest intact one belongs to another model.
    """
    damaged = []
    for step, prefix in list_checkpoints(save_dir):
        try:
            read(prefix, groups, run_id)
        except DoesNotFit:
            raise  # An older one would not fit either, and nothing is damaged.
        except tf.errors.OpError as error:  # Its files are damaged.
            damaged.append(f"{prefix} cannot be used: {tensorflow_reason(error)}")
        else:
            for report in damaged:
                logging.warning("%s", report)
            return step
    if damaged:
        raise ValueError(
            f"--save_dir={save_dir}: none of its {len(damaged)} checkpoints can be "
            f"used; train anew in another folder ({'; '.join(damaged)})."
        )
    return None


def load_config(save_dir: str) -> Config:
    """The Config of a run; FileNotFoundError or ValueError if it has none."""
    path = os.path.join(save_dir, CONFIG)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"--save_dir={save_dir}: holds no {CONFIG}; give the folder that train.py "
            "wrote."
        )
    return Config.load(path)


def load_model(save_dir: str, averaged: bool = True) -> tuple[PixelCNNPP, Config]:
    """The model of a run with its newest EMA (or raw) parameters, and its Config.

    `save_dir` is the --save_dir of train.py. A damaged checkpoint is reported and the
    one before it taken. Raises FileNotFoundError or ValueError where the folder holds
    no usable run, ValueError where weights are NaN or infinite.
    """
    config = load_config(save_dir)
    model = PixelCNNPP(**vars(config.model), initial_weights=False)
    group = "averages" if averaged else "parameters"
    model.class_names = config.class_names
    groups = {group: model.tf_variables()}
    if read_newest(save_dir, groups, config.run_id) is None:
        raise FileNotFoundError(
            f"--save_dir={save_dir}: holds no checkpoint yet; train longer."
        )
    model.check_weights()
    return model, config
