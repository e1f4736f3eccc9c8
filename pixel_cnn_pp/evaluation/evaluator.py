"""Evaluation: the exact loss of every image of a data set, in bits/dim."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from pixel_cnn_pp import distribution
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.layers import fusion
from pixel_cnn_pp.likelihood import bits_per_dim
from pixel_cnn_pp.model import PixelCNNPP


class Evaluator:
    """Losses of single images on all replicas of the strategy it is made under.

    The compiled step is kept, so one Evaluator serves a whole run.
    """

    def __init__(self, model: PixelCNNPP, batch_size: int, seed=(0, 0)):
        """`batch_size`: images per step, all replicas together. An energy distance is
        measured with the noise of `seed`, int32 [2]."""
        self.strategy = tf.distribute.get_strategy()
        replicas = self.strategy.num_replicas_in_sync
        self.batch_size = -(-batch_size // replicas) * replicas
        self.model = model
        self.seed = tf.convert_to_tensor(seed, tf.int32)
        self._step = tf.function(self._losses, autograph=False)
        self._sums_of_step = tf.function(self._sums, autograph=False)

    def _losses(self, batch):
        def losses(batch):
            images = image_ops.quantize(batch["image"], self.model.num_levels)
            # Scores can be asked for with labels that the model does not take.
            labels = None if self.model.num_labels is None else batch.get("label")
            with fusion.fusing(self.model.fuses):
                return self.model.image_loss(images, labels, seed=self.seed)

        return self.strategy.run(losses, args=(batch,))

    def _sums(self, batch):
        """Sum of the losses of all replicas and workers, and number of their images."""
        losses = self._losses(batch)

        def sums(losses, real):
            losses = tf.where(real, tf.cast(losses, tf.float64), 0.0)
            return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(real, tf.float64))

        return [
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)
            for values in self.strategy.run(sums, args=(losses, batch["real"]))
        ]

    def losses(self, examples: tf.data.Dataset) -> Iterator[np.ndarray]:
        """Loss of each example in order, a float32 array for each batch.

        Each image counts once: a last partial batch is filled up with zeros, and their
        losses are left out.
        """
        return (losses for losses, _ in self.losses_and_labels(examples))

    def losses_and_labels(
        self, examples: tf.data.Dataset
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """The same with the labels of the examples beside them, or None."""

        def gather(values) -> np.ndarray:
            parts = self.strategy.experimental_local_results(values)
            return np.concatenate([part.numpy() for part in parts])

        for batch in self._batches(examples):
            real = gather(batch.pop("real"))
            labels = gather(batch["label"])[real] if "label" in batch else None
            yield gather(self._step(batch))[real], labels

    def _batches(self, examples):
        batches = examples.batch(self.batch_size).map(self._fill).prefetch(2)
        return distribution.distribute(batches)

    def _fill(self, batch):
        count = tf.shape(batch["image"])[0]

        def fill(values):
            lacking = self.batch_size - count
            shape = values.shape.as_list()[1:]
            zeros = tf.zeros([lacking, *shape], values.dtype)
            return tf.ensure_shape(
                tf.concat([values, zeros], 0), [self.batch_size, *shape]
            )

        filled = {name: fill(values) for name, values in batch.items()}
        return filled | {"real": tf.range(self.batch_size) < count}

    def mean_loss(
        self, examples: tf.data.Dataset, after_batch: Callable[[], None] = lambda: None
    ) -> float:
        """Mean over all images, each counted once, in float64."""
        total = count = 0.0
        for batch in self._batches(examples):
            loss, images = self._sums_of_step(batch)
            total, count = total + float(loss), count + float(images)
            after_batch()
        return total / count


def score(
    model: PixelCNNPP, images, batch_size: int, max_images: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """bits/dim, float64 [n], and labels, where there are any, of each batch in order.

    Of all images of a source, or the first `max_images`; a batch is held at a time.
    """
    examples = images.examples()
    if max_images is not None:
        examples = examples.take(max_images)
    for losses, labels in Evaluator(model, batch_size).losses_and_labels(examples):
        yield bits_per_dim(losses.astype(np.float64), model.image_shape), labels
