"""Weight normalisation: the kernels of layers, those of one shape at once."""

from collections import defaultdict
from collections.abc import Iterable

import tensorflow as tf
from keras import ops

from pixel_cnn_pp.layers.base import WeightedLayer
from pixel_cnn_pp.layers.custom_gradient import custom_gradient


@custom_gradient
def weight_norm(V: tf.Tensor, g: tf.Tensor, *, unit_axis: int) -> tf.Tensor:
    """g · V / ‖V‖ of a stack of layers: V [layers, …] and g [layers, units].

    The norm is over all axes but the first and `unit_axis`, that of the output units.

    Salimans & Kingma 2016, eq. 2, and its gradient, eq. 3, which takes a third less
    work than the one that automatic differentiation finds.
    """
    kept = (0, unit_axis % len(V.shape))
    others = [axis for axis in range(len(V.shape)) if axis not in kept]
    squared_norm = tf.reduce_sum(tf.square(V), others, keepdims=True)
    inverse = tf.math.rsqrt(tf.maximum(squared_norm, 1e-12))
    wide = tf.reshape(g, inverse.shape)

    def gradient(upstream):
        along = tf.reduce_sum(upstream * V, others, keepdims=True) * inverse
        across = upstream - V * (along * inverse)
        return wide * inverse * across, tf.reshape(along, g.shape)

    return wide * (V * inverse), gradient


def kernels_of(layers: Iterable[WeightedLayer]) -> dict[str, tf.Tensor]:
    """Kernels of `WeightNorm` layers by name, those of one shape computed at once.

    The step on an H100 has a third fewer GPU kernels than with a norm in each layer; on
    a CPU it is 8 % faster (-q 2 -n 32: 49 instead of 45 images/s).
    """
    groups = defaultdict(list)
    for layer in layers:
        groups[tuple(layer.V.shape), layer.unit_axis].append(layer)
    kernels = {}
    for (_, unit_axis), group in groups.items():
        V = tf.stack([tf.convert_to_tensor(layer.V.value) for layer in group])
        g = tf.stack([tf.convert_to_tensor(layer.g.value) for layer in group])
        stack = tf.unstack(weight_norm(V, g, unit_axis=unit_axis))
        for layer, kernel in zip(group, stack, strict=True):
            rounded = ops.cast(kernel, layer.rounded_to)
            kernels[layer.name] = ops.cast(rounded, "float32")
    return kernels
