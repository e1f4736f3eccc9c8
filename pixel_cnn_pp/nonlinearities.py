"""What stands between two convs: nonlinearities and dropout."""

import tensorflow as tf
from keras import ops

from pixel_cnn_pp import noise
from pixel_cnn_pp.gradients import custom_gradient


@custom_gradient
def concat_elu(x: tf.Tensor) -> tf.Tensor:
    """elu of x and −x side by side: [..., F] → [..., 2F]."""
    y = ops.elu(ops.concatenate([x, -x], axis=-1))

    def gradient(upstream):
        through_elu = tf.raw_ops.EluGrad(gradients=upstream, outputs=y)
        of_x, of_minus_x = tf.split(through_elu, 2, axis=-1)
        return of_x - of_minus_x

    return y, gradient


# name: (function, how many times it widens the channels)
NONLINEARITIES = {
    "concat_elu": (concat_elu, 2),
    "elu": (ops.elu, 1),
    "relu": (ops.relu, 1),
}


def dropout(x: tf.Tensor, p: float, seed: tf.Tensor) -> tf.Tensor:
    """Zeroes each element with probability p and scales the rest by 1 / (1 − p).

    The mask follows from `seed`, int32 [2], alone. It is kept for the gradient as it
    was drawn, a byte an element.
    """
    keep = noise.keep_mask(ops.shape(x), p, seed)
    return _drop(x, keep, scale=1.0 / (1.0 - p))


@custom_gradient
def _drop(x: tf.Tensor, keep: tf.Tensor, *, scale: float) -> tf.Tensor:
    def apply(x):
        return x * (tf.cast(keep, x.dtype) * scale)

    return apply(x), lambda upstream: (apply(upstream), None)
