"""Stateless random numbers: all that is drawn follows from a seed, int32 [2]."""

import math

import tensorflow as tf


def fold_in(seed: tf.Tensor, data: int | tf.Tensor) -> tf.Tensor:
    """A seed, int32 [2], of its own for each (seed, data)."""
    return tf.random.experimental.stateless_fold_in(seed, data)


def split(seed: tf.Tensor, n: int) -> list[tf.Tensor]:
    """n seeds from one, in one draw."""
    bits = tf.random.stateless_uniform(
        [n, 2], seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    return tf.unstack(tf.bitcast(bits, tf.int32))


def keep_mask(shape: tuple, p: float, seed: tf.Tensor) -> tf.Tensor:
    """Booleans of `shape`, each False with probability p, in steps of 2^-16.

    Integer bits are compared, because the uniform floats that TensorFlow draws from one
    seed differ between XLA and plain graphs; 8 bits where they are enough, because
    drawing them takes most of the time.
    """
    dtype = tf.uint8 if p * 256 == round(p * 256) else tf.uint16
    count = math.prod(shape)  # A number, unless the shape is not known yet.
    words = count * dtype.size // 4 + 1
    bits = tf.random.stateless_uniform(
        [words], seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    small = tf.reshape(tf.bitcast(bits, dtype), [-1])[:count]
    return tf.reshape(small >= round(p * 2 ** (8 * dtype.size)), shape)


def uniform(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Float32 in (0, 1), never 0 or 1: the centres of 2^23 equal cells."""
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    cells = tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), tf.float32)
    return (cells + 0.5) * 2.0**-23


def uniform_per_image(
    index: tf.Tensor, shape: tuple[int, ...], seed: tf.Tensor
) -> tf.Tensor:
    """Float32 in (0, 1), [N, *shape], for images index, int [N], of a seed.

    Each row follows from (seed, its index), whatever the others are.
    """
    return tf.map_fn(
        lambda i: uniform(shape, fold_in(seed, i)),
        index,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )
