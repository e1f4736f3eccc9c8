"""Sampling: whole images drawn, or completed, by the incremental pass."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import noise
from pixel_cnn_pp.checks import check_images, check_labels
from pixel_cnn_pp.folded import condition, fold
from pixel_cnn_pp.incremental import IncrementalPass

if TYPE_CHECKING:
    from pixel_cnn_pp.model import PixelCNNPP

# Images are drawn so many at a time, each number compiled once, when first needed.
BATCH_SIZES = (1, 4, 16, 64)
FILLED_FROM = (1, 8, 32)  # More images than these are drawn in the next larger batch.


class Sampler:
    """Draws the images of a PixelCNNPP; what it compiles is kept.

    `draw` takes images uint8 [N, H, W, C], keep bool [N, H, W], labels int32 [N] (which
    a model without labels ignores), seed int32 [2], temperature float32 [] and first
    int32 []; it returns levels uint8 [N, H, W, C], those of `images` where `keep` and
    drawn ones elsewhere. Image i follows from (seed, first + i).

    Without `jit_compile` XLA has no part in it: slower, and for servers that lack XLA.
    """

    def __init__(self, model: "PixelCNNPP", jit_compile: bool = True):
        self.model = model
        shape = model.image_shape
        images = tf.TensorSpec([None, *shape], tf.uint8)
        keep = tf.TensorSpec([None, *shape[:2]], tf.bool)
        number = tf.TensorSpec([], tf.int32)
        temperature = tf.TensorSpec([], tf.float32)
        labels, seed = tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)
        self.draw = tf.function(
            self._draw,
            input_signature=[images, keep, labels, seed, temperature, number],
            autograph=False,
        )
        self._draw_batch = tf.function(
            self._draw_batch, autograph=False, jit_compile=jit_compile
        )

    def _draw(self, images, keep, labels, seed, temperature, first):
        model = self.model
        total = tf.shape(images)[0]
        folded = fold(model)

        def draw_next(start, drawn):
            # A batch is filled up where that costs less than several smaller ones.
            left = total - start
            choice = tf.reduce_sum(tf.cast(left > FILLED_FROM, tf.int32))
            index = start + tf.range(tf.gather(BATCH_SIZES, choice))
            row = tf.minimum(index, total - 1)
            shape = (*model.image_shape[:2], model.noise_size)
            batch = self._draw_batch(
                folded,
                condition(model, tf.gather(labels, row)),
                noise.uniform_per_image(first + index, shape, seed),
                tf.gather(images, row),
                tf.gather(keep, row),
                temperature,
            )
            drawn = tf.concat([drawn, batch[:left]], axis=0)
            return tf.minimum(start + tf.size(index), total), drawn

        _, drawn = tf.while_loop(
            lambda start, _: start < total,
            draw_next,
            (tf.constant(0), images[:0]),
            shape_invariants=(tf.TensorShape([]), images.shape),
        )
        return drawn

    def _draw_batch(self, folded, conditions, u, images, keep, temperature):
        model = self.model
        height, width, _ = model.image_shape
        n = tf.shape(images)[0]
        x = image_ops.to_float(images, model.num_levels)
        net = IncrementalPass(model, folded, conditions, n)

        def draw_pixel(i, j, cache):
            def here(values):
                return tf.slice(values, [0, i, j, 0], [n, 1, 1, values.shape[-1]])

            ul, cache = net.features(cache, i, j)
            drawn = model.draw_pixels(ul, here(u), temperature, net.run_plain)
            pixel = tf.where(here(keep[..., None]), here(x), drawn)
            return i, j + 1, net.set_pixel(cache, i, j, pixel)

        def draw_row(i, cache):
            start = (i, tf.constant(0), net.begin_row(cache, i))
            *_, cache = tf.while_loop(lambda i, j, _: j < width, draw_pixel, start)
            return i + 1, cache

        start = (tf.constant(0), net.start())
        _, cache = tf.while_loop(lambda i, _: i < height, draw_row, start)
        return image_ops.to_levels(net.image(cache), model.num_levels)


def sample(
    model: "PixelCNNPP",
    n: int,
    labels: npt.ArrayLike | None = None,
    seed: npt.ArrayLike = (0, 0),
    temperature: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> tf.Tensor:
    """See `PixelCNNPP.sample`."""
    if n < 1:
        raise ValueError(f"n={n}: at least one image must be asked for.")
    images = np.zeros((n, *model.image_shape), np.uint8)
    keep = np.zeros(images.shape[:3], bool)
    return _draw(model, images, keep, labels, seed, temperature, progress)


def complete(
    model: "PixelCNNPP",
    images: npt.ArrayLike,
    rows: int | None = None,
    labels: npt.ArrayLike | None = None,
    seed: npt.ArrayLike = (0, 0),
    temperature: float = 1.0,
    mask: npt.ArrayLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tf.Tensor:
    """See `PixelCNNPP.complete`."""
    images = check_images(model, images).numpy()
    n, height, width, _ = images.shape
    if (rows is None) == (mask is None):
        raise ValueError(f"rows={rows}, mask={mask}: give one of the two.")
    if rows is not None:
        if rows not in range(height + 1):
            raise ValueError(
                f"rows={rows}: the images have {height}; give 0 to {height}."
            )
        mask = np.broadcast_to(np.arange(height)[:, None] < rows, (height, width))
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape not in ((height, width), (n, height, width)):
        raise ValueError(
            f"mask {mask.dtype} {list(mask.shape)}: must be bool [{height}, {width}] "
            f"or [{n}, {height}, {width}]."
        )
    keep = np.broadcast_to(mask, (n, height, width))
    return _draw(model, images, keep, labels, seed, temperature, progress)


def refuse_temperature(model: "PixelCNNPP", temperature: float) -> None:
    """Raises ValueError where the model cannot draw at this temperature."""
    if not 0 < np.float32(temperature) < np.inf:
        raise ValueError(
            f"temperature={temperature}: must be above 0 and finite, in float32; 1 is "
            "the model's."
        )
    if model.energy_distance and temperature != 1:
        raise ValueError(
            f"temperature={temperature}: must be 1 for a model trained with the energy "
            "distance; leave it out."
        )


def _draw(model, images, keep, labels, seed, temperature, progress):
    refuse_temperature(model, temperature)
    seed = np.asarray(seed)
    if seed.shape != (2,) or seed.dtype.kind not in "iu":
        raise ValueError(f"seed={seed}: must be two integers.")
    n, most = len(images), BATCH_SIZES[-1]
    if labels is not None:
        labels = check_labels(model, labels, n)
    model.condition(labels)
    labels = np.zeros([n], np.int32) if labels is None else labels
    drawn = []
    for first in range(0, n, most):
        part = slice(first, first + most)
        batch = model.sampler.draw(
            tf.constant(images[part]),
            tf.constant(keep[part]),
            tf.constant(labels[part]),
            tf.constant(seed, tf.int32),
            tf.constant(temperature, tf.float32),
            tf.constant(first),
        )
        drawn.append(batch)
        if progress is not None:
            progress(min(first + most, n), n)
    return tf.concat(drawn, axis=0)
