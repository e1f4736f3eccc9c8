"""Sampling: images drawn pixel by pixel, one full pass of the network for each."""

import tensorflow as tf

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import noise


def draw_images(model, n: int, labels=None, seed=(0, 0), temperature=1.0) -> tf.Tensor:
    """Draws uint8 images [n, H, W, C] from a PixelCNNPP.

    Args:
        labels: int [n] for a class-conditional model.
        seed: two integers; image i follows from (seed, i), not from n.
        temperature: divides the mixture's logits and multiplies the logistics' scales.
    """
    if n < 1:
        raise ValueError(f"n={n}: at least one image must be asked for.")
    if not temperature > 0:
        raise ValueError(
            f"temperature={temperature}: must be above 0; 1 is the model's."
        )
    if model.energy_distance and temperature != 1:
        raise ValueError(
            f"temperature={temperature}: an energy-distance model draws at 1 only."
        )
    if labels is not None:
        labels = model.check_labels(labels, n)
    model.condition(labels)
    return _draw_full_passes(
        model,
        tf.constant(n, tf.int32),
        labels,
        tf.constant(seed, tf.int32),
        tf.constant(temperature, tf.float32),
    )


@tf.function(reduce_retracing=True, autograph=False)
def _draw_full_passes(model, n, labels, seed, temperature):
    height, width, channels = model.image_shape
    u = noise.uniform_per_image(n, (height, width, model.noise_size), seed)
    positions = tf.reshape(tf.range(height * width), [1, height, width, 1])

    shape = tf.TensorShape([None, height, width, channels])

    def draw_pixel(index, x):
        i, j = index // width, index % width
        ul = model.features(x, labels)[:, i : i + 1, j : j + 1]  # [N, 1, 1, F]
        pixel = model.draw_pixels(ul, u[:, i : i + 1, j : j + 1], temperature)
        return index + 1, tf.ensure_shape(tf.where(positions == index, pixel, x), shape)

    start = tf.zeros([n, height, width, channels])
    _, x = tf.while_loop(
        lambda index, _: index < height * width,
        draw_pixel,
        (tf.constant(0), start),
        shape_invariants=(tf.TensorShape([]), shape),
    )
    return image_ops.to_levels(x, model.num_levels)
