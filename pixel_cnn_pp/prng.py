"""Stateless random numbers: each is a function of a seed, int32 [2]."""

import math

import numpy as np
import numpy.typing as npt
import tensorflow as tf

# Where seeds are computed: a GPU would wait for the host after each such operation.
HOST = "CPU:0"

# Purposes of the random numbers that follow from a run's seed: (seed, purpose).
INITIALIZATION, DROPOUT, EVALUATION, SAMPLES, COMPLETIONS, MUTATION = range(6)

LIMIT = 2**31


def seed_of(seed: npt.ArrayLike) -> tuple[int, int]:
    """A seed of two integers from one, 3 → (3, 0), or two; ValueError for others."""
    values = np.asarray(seed)
    if values.dtype.kind not in "iu" or values.shape not in ((), (1,), (2,)):
        raise ValueError(
            f"seed={seed!r}: must be one integer or two, for example 3 or (0, 3)."
        )
    first, second = (*values.ravel().tolist(), 0)[:2]
    if not -LIMIT <= min(first, second) <= max(first, second) < LIMIT:
        raise ValueError(f"seed={seed}: must be from {-LIMIT} to {LIMIT - 1}.")
    return first, second


def new_seed() -> tuple[int, int]:
    """Another seed each time."""
    first, second = np.random.default_rng().integers(LIMIT, size=2).tolist()
    return first, second


def fold_in(seed: tf.Tensor, data: int | tf.Tensor) -> tf.Tensor:
    """A seed, int32 [2], of its own for each (seed, data)."""
    with tf.device(HOST):
        return tf.random.experimental.stateless_fold_in(seed, data)


def split(seed: tf.Tensor, n: int) -> list[tf.Tensor]:
    """n seeds from one."""
    with tf.device(HOST):
        return tf.unstack(tf.bitcast(bits([n, 2], seed), tf.int32))


def bits(shape: tuple | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Random uint32 of `shape`, the same as tf.random.stateless_uniform(alg="philox").

    In a third of its operations: the first step of the default size takes 20 s on a
    CPU, and 22 s with tf.random's.
    """

    def philox(shape, dtype, key, counter):
        return tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=shape, key=key, counter=counter, alg=_PHILOX, dtype=dtype
        )

    with tf.device(HOST):
        counter = tf.cast(seed, tf.uint64)
        key, counter = tf.split(philox([2], tf.uint64, [_SCRAMBLING], counter), 2)
        counter = tf.concat([tf.constant([0], tf.uint64), counter], axis=0)
    return philox(shape, tf.uint32, key, counter)


# TensorFlow's number of the algorithm, and the key with which it scrambles a seed.
_PHILOX, _SCRAMBLING = 1, 0x02461E293EC8F720


def keep_mask(shape: tuple, p: float, seed: tf.Tensor) -> tf.Tensor:
    """Booleans of `shape`, each False with probability p, in steps of 2^-16.

    Integer bits are compared, because TensorFlow's uniform floats for one seed differ
    between XLA and plain graphs; 8 bits where they are enough, half the random bits.
    """
    dtype = tf.uint8 if p * 256 == round(p * 256) else tf.uint16
    count, parts = math.prod(shape), 4 // dtype.size  # Parts of a word.
    small = tf.bitcast(bits([(count + parts - 1) // parts], seed), dtype)
    # `count` is a tensor if the shape is not known yet.
    if not isinstance(count, int) or count % parts:
        small = tf.reshape(small, [-1])[:count]
    return tf.reshape(small, shape) >= round(p * 2 ** (8 * dtype.size))


def uniform(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Float32 in (0, 1), never 0 or 1: the centres of 2^23 equal cells."""
    words = bits(shape, seed)
    cells = tf.bitwise.right_shift(words, tf.constant(9, tf.uint32))
    return (tf.cast(cells, tf.float32) + 0.5) * 2.0**-23


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
