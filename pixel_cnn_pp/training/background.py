"""Mutated images and the L2 penalty, with which a background model is trained.

Ren et al. 2019, Likelihood Ratios for Out-of-Distribution Detection.
"""

from collections.abc import Sequence

import tensorflow as tf

from pixel_cnn_pp import prng


def mutate(
    images: tf.Tensor, rate: float, num_levels: int, seed: tf.Tensor
) -> tf.Tensor:
    """Images, integers [N, H, W, C], each sub-pixel with probability `rate` replaced by
    a uniform pixel value, 0 … num_levels − 1.

    Ren et al. add a uniform value modulo 256, which has the same distribution. The new
    value can be the old one, so 1 / num_levels of the replaced sub-pixels stay.
    """
    seeds = prng.split(seed, 2)
    is_replaced = prng.uniform(tf.shape(images), seeds[0]) < rate
    values = prng.uniform(tf.shape(images), seeds[1]) * num_levels
    return tf.where(is_replaced, tf.cast(values, images.dtype), images)


def add_penalty(
    gradients: Sequence[tf.Tensor],
    values: Sequence[tf.Tensor],
    names: Sequence[str],
    factor: float,
) -> list[tf.Tensor]:
    """The gradients with those of factor · Σ w² over the weights of all kernels.

    A kernel is g · V / ‖V‖ for each unit, so the sum of its squares is Σ g²: the
    penalty has the gradient 2 · factor · g, and none by V. Biases and the weights of
    the labels are not penalized, as in Ren et al.
    """
    return [
        gradient + 2.0 * factor * value if name.endswith("/g") else gradient
        for gradient, value, name in zip(gradients, values, names, strict=True)
    ]
