"""Scores: the exact loss of every image of a data set, in bits/dim."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from pixel_cnn_pp import distribution
from pixel_cnn_pp.evaluation import devices
from pixel_cnn_pp.images import ImageSet, quantized
from pixel_cnn_pp.layers import fusion
from pixel_cnn_pp.likelihood import bits_per_dim
from pixel_cnn_pp.model import PixelCNNPP


class Evaluator:
    """Losses of single images, on all replicas of a strategy.

    It keeps the compiled step: create one and use it for the whole run.
    """

    def __init__(
        self,
        model: PixelCNNPP,
        batch_size: int,
        strategy: tf.distribute.Strategy,
        seed=(0, 0),
    ):
        """`batch_size`: images per step over all replicas, rounded up to a multiple of
        their number. `seed`, int32 [2], gives the noise of an energy distance."""
        self.strategy = strategy
        replicas = strategy.num_replicas_in_sync
        self.batch_size = -(-batch_size // replicas) * replicas
        self.model = model
        self.seed = tf.convert_to_tensor(seed, tf.int32)
        self._step = tf.function(self._losses, autograph=False)
        self._sums_of_step = tf.function(self._sums, autograph=False)

    def _losses(self, batch):
        def losses(batch):
            # --scores_csv reads labels even for a model that takes none.
            labels = None if self.model.num_labels is None else batch.get("label")
            with fusion.fusing(self.model.fuses):
                return self.model.image_loss(batch["image"], labels, seed=self.seed)

        return self.strategy.run(losses, args=(batch,))

    def _sums(self, batch):
        """Sum of the losses over all replicas and workers, and number of images."""
        losses = self._losses(batch)

        def sums(losses, is_image):
            losses = tf.where(is_image, tf.cast(losses, tf.float64), 0.0)
            return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(is_image, tf.float64))

        return [
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)
            for values in self.strategy.run(sums, args=(losses, batch["is_image"]))
        ]

    def losses_of_batch(self, batch: dict) -> tuple[np.ndarray, np.ndarray | None]:
        """Losses float32 [n], and labels [n] or None, of the images of a padded batch.

        On one device. The losses of the padding are dropped.
        """
        is_image = batch["is_image"].numpy()
        labels = batch["label"].numpy()[is_image] if "label" in batch else None
        return self._step(batch).numpy()[is_image], labels

    def mean_loss(
        self, examples: tf.data.Dataset, after_batch: Callable[[], None] = lambda: None
    ) -> float:
        """Mean over all images, each counted once, in float64."""
        total = count = 0.0
        for batch in self.batches(examples):
            loss, images = self._sums_of_step(batch)
            total, count = total + float(loss), count + float(images)
            after_batch()
        return total / count

    def batches(self, examples: tf.data.Dataset):
        """Batches of one size; the last is padded with zeros."""
        batches = examples.batch(self.batch_size).map(self._pad)
        return distribution.distribute(batches, self.strategy)

    def _pad(self, batch):
        """Appends zeros to a batch; 'is_image', bool [batch_size], is False there."""
        count = tf.shape(batch["image"])[0]

        def pad(values):
            shape = values.shape.as_list()[1:]
            zeros = tf.zeros([self.batch_size - count, *shape], values.dtype)
            padded = tf.concat([values, zeros], 0)
            return tf.ensure_shape(padded, [self.batch_size, *shape])

        padded = {name: pad(values) for name, values in batch.items()}
        return padded | {"is_image": tf.range(self.batch_size) < count}


def score(
    model: PixelCNNPP,
    images: ImageSet,
    batch_size: int,
    max_images: int | None = None,
    machine: devices.Machine = devices.ONE_MACHINE,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """bits/dim, float64 [n], and labels [n] or None, of each batch in order.

    Of all images, or of the first `max_images`. The devices of the machine take the
    batches in turn; of several machines, each takes its part of the batches, one after
    the other. Only a few batches are in memory at a time. Raises FloatingPointError
    where bits/dim are NaN or infinite.
    """
    images = quantized(images, model.num_levels)
    n = min(max_images or images.num_images, images.num_images)
    size, strategy = min(batch_size, n), tf.distribute.get_strategy()
    begin, end = machine.part(-(-n // size))  # Whole batches, but for the last.
    first, last = min(begin * size, n), min(end * size, n)
    examples = images.examples(start=first).take(last - first)

    def make_scorer(model, check):
        return Evaluator(model, size, strategy).losses_of_batch

    batches = Evaluator(model, size, strategy).batches(examples)
    for losses, labels in machine.map(model, make_scorer, batches, end - begin):
        bits = bits_per_dim(losses.astype(np.float64), model.image_shape)
        check_finite(bits)
        yield bits, labels


def bound_note(model: PixelCNNPP) -> str:
    """What to print of scores that are not exact."""
    if model.is_exact:
        return ""
    draws = model.dequantization_draws
    return f"; estimate of an upper bound, mean of {draws} dequantizations"


def check_finite(bits: np.ndarray) -> None:
    """Raises FloatingPointError where bits are NaN or infinite."""
    if not np.isfinite(bits).all():
        raise FloatingPointError(
            "the bits of some images are NaN or infinite: the training of this model "
            "diverged; retrain it with a lower --learning_rate."
        )


def first_images(
    model: PixelCNNPP, images: ImageSet, n: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The first n images with the model's pixel values, uint8 [n, H, W, C], or all
    where there are fewer; and their labels [n] where the model takes labels."""
    images = quantized(images, model.num_levels)
    examples = list(images.examples().take(n).as_numpy_iterator())
    values = np.stack([example["image"] for example in examples])
    labels = None
    if model.num_labels is not None:
        labels = np.array([example["label"] for example in examples])
    return values, labels
