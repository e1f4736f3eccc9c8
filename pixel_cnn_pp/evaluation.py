"""Evaluation: the exact loss of every image of a data set, in bits/dim."""

import json
import math
import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import workers
from pixel_cnn_pp.likelihood import ContinuousMixLogistic
from pixel_cnn_pp.model import PixelCNNPP


def bits_per_dim(nats: np.ndarray | float, image_shape: tuple[int, int, int]):
    """Nats per image as bits per sub-pixel."""
    return nats / (math.log(2.0) * math.prod(image_shape))


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
            labels = batch.get("label")
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
        for batch in self._batches(examples):
            counts = self.strategy.experimental_local_results(batch.pop("real"))
            parts = self.strategy.experimental_local_results(self._step(batch))
            losses = np.concatenate([part.numpy() for part in parts])
            yield losses[np.concatenate([count.numpy() for count in counts])]

    def _batches(self, examples):
        batches = examples.batch(self.batch_size).map(self._fill).prefetch(2)
        return workers.distribute(batches)

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


def refuse_unfit(model: PixelCNNPP, images) -> None:
    """Raises ValueError where the images are none that the model takes."""
    if images.image_shape != model.image_shape:
        raise ValueError(
            f"images {images.image_shape}: this model takes {model.image_shape}; give "
            "the images it was trained on, or ones of that size."
        )
    if model.num_labels is not None and images.num_labels > model.num_labels:
        raise ValueError(
            f"images with {images.num_labels} labels: this model knows "
            f"{model.num_labels}; give the images it was trained on, or ones with its "
            "labels."
        )


def refuse_without_likelihood(model: PixelCNNPP) -> None:
    """Raises ValueError where the model has no bits/dim."""
    if model.energy_distance:
        raise ValueError(
            "energy_distance=True: such a model draws images but has no likelihood, so "
            "it has no bits/dim; give --num_samples to draw."
        )


def set_dequantization_draws(model: PixelCNNPP, draws: int | None) -> int | None:
    """Lets the model's bound be the mean of `draws` dequantizations, or leaves it.

    Returns their number now; None where the model's figures are exact. Raises
    ValueError where `draws` is given for such a model.
    """
    if isinstance(model.objective, ContinuousMixLogistic):
        model.objective.num_draws = draws or model.objective.num_draws
        return model.objective.num_draws
    if draws is not None:
        raise ValueError(
            f"--dequantization_draws={draws}: the figures of this model are exact; "
            "leave the flag out."
        )
    return None


def scores(
    model: PixelCNNPP, images, batch_size: int, max_images: int | None = None
) -> dict:
    """bits_per_dim, num_images, bits_per_dim_per_image of the first `max_images`."""
    examples = images.examples()
    if max_images is not None:
        examples = examples.take(max_images)
    losses = np.concatenate(list(Evaluator(model, batch_size).losses(examples)))
    per_image = bits_per_dim(losses.astype(np.float64), model.image_shape)
    return {
        "bits_per_dim": float(per_image.mean()),
        "num_images": len(per_image),
        "bits_per_dim_per_image": per_image.tolist(),
    }


def refuse_unwritable(path: str) -> None:
    """Raises OSError where `path` is no file that can be written."""
    folder = os.path.dirname(path) or "."
    there = path if os.path.exists(path) else folder
    is_file = os.path.isdir(folder) and not os.path.isdir(path)
    if not is_file or not os.access(there, os.W_OK):
        raise OSError(
            f"{path}: cannot be written; give a file in a folder that exists."
        )


def write_json(path: str, scores: dict) -> None:
    with open(path, "w") as file:
        json.dump(scores, file)
