"""Polyak averages of the parameters."""

import tensorflow as tf


def decay_at(step: tf.Tensor, polyak_decay: float, warmup: bool) -> tf.Tensor:
    """Decay of the update after `step` earlier ones.

    With `warmup` min(polyak_decay, (1 + step) / (10 + step)), so that the averages of a
    short run are of use; the official rule is `polyak_decay` throughout.
    """
    if not warmup:
        return tf.constant(polyak_decay)
    t = tf.cast(step, tf.float32)
    return tf.minimum(polyak_decay, (1.0 + t) / (10.0 + t))


def start(averages: dict[str, tf.Variable], parameters: dict[str, tf.Variable]) -> None:
    """Sets the averages to the parameters.

    Called after the data-dependent initialisation. Deviation: the official shadows
    start at the values from before it.
    """
    for name, average in averages.items():
        average.assign(parameters[name])


def step(average: tf.Tensor, parameter: tf.Tensor, decay: tf.Tensor) -> tf.Tensor:
    """decay · average + (1 − decay) · parameter."""
    return average - (1.0 - decay) * (average - parameter)
