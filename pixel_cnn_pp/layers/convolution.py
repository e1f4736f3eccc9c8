"""Layers: weight-normalised dense, conv and deconv, and their shifted forms."""

from collections import Counter

import keras
import tensorflow as tf
from keras import ops

from pixel_cnn_pp.layers.activations import NO_MARGINS, Margins, pad
from pixel_cnn_pp.layers.base import WeightedLayer, register
from pixel_cnn_pp.layers.weight_norm import WeightNorm, initial_weights


def down_shift(x: tf.Tensor) -> tf.Tensor:
    """Shifts [N, H, W, F] one row down; the first row becomes zero."""
    kept = tf.slice(x, [0, 0, 0, 0], [-1, x.shape[1] - 1, -1, -1])
    return pad(kept, (1, 0, 0))


def right_shift(x: tf.Tensor) -> tf.Tensor:
    """Shifts [N, H, W, F] one column to the right; the first column becomes zero."""
    kept = tf.slice(x, [0, 0, 0, 0], [-1, -1, x.shape[2] - 1, -1])
    return pad(kept, (0, 1, 0))


@register
class Dense(WeightNorm):
    """Dense layer on the last axis: the official `dense` and `nin` (1×1 conv)."""

    kind = "dense"

    def kernel_shape(self, in_channels):
        return (in_channels, self.units)

    def linear(self, x, kernel):
        rows = ops.reshape(x, (-1, x.shape[-1]))
        y = ops.matmul(rows, kernel)
        return ops.reshape(y, (*ops.shape(x)[:-1], self.units))


class _Spatial(WeightNorm):
    """Kernel size, strides and margins, which conv and deconv share."""

    settings = (*WeightNorm.settings, "filter_size", "strides")

    def __init__(self, units: int, filter_size=(2, 3), strides=(1, 1), **kwargs):
        super().__init__(units, **kwargs)
        self.filter_size = tuple(filter_size)
        self.strides = tuple(strides)

    def margins(self) -> Margins:
        """How far a conv sees above, to the left and to the right: its padding. The
        crop of a deconv is mirrored. None here."""
        return NO_MARGINS


@register
class Conv2D(_Spatial):
    """VALID convolution of the input, padded by `margins`."""

    kind = "conv2d"

    def kernel_shape(self, in_channels):
        return (*self.filter_size, in_channels, self.units)

    def linear(self, x, kernel):
        return ops.conv(x, kernel, self.strides, "valid", data_format="channels_last")

    def padding(self):
        return self.margins()


@register
class Deconv2D(_Spatial):
    """VALID transposed convolution, its output cropped by the mirrored `margins`."""

    kind = "deconv2d"
    unit_axis = -2

    def kernel_shape(self, in_channels):
        return (*self.filter_size, self.units, in_channels)

    def linear(self, x, kernel):
        n, h, w, _ = ops.shape(x)
        rows, columns = self.filter_size
        height = h * self.strides[0] + rows - 1
        width = w * self.strides[1] + columns - 1
        shape = (n, height, width, self.units)
        return tf.nn.conv2d_transpose(x, kernel, shape, self.strides, padding="VALID")

    def crop(self, y):
        # Mirrored: the zeros that a conv would put on top are cut off at the bottom,
        # left and right swapped.
        bottom, right, left = self.margins()
        height, width = y.shape[1:3]
        size = [-1, height - bottom, width - left - right, -1]
        return tf.slice(y, [0, 0, left, 0], size)


class _DownShifted:
    """Sees the rows up to its own, as many columns to the left as to the right."""

    def margins(self):
        rows, columns = self.filter_size
        return (rows - 1, (columns - 1) // 2, (columns - 1) // 2)


class _DownRightShifted:
    """Sees the rows up to its own and the columns up to its own."""

    def margins(self):
        rows, columns = self.filter_size
        return (rows - 1, columns - 1, 0)


@register
class DownShiftedConv2D(_DownShifted, Conv2D):
    """The official `down_shifted_conv2d`."""


@register
class DownShiftedDeconv2D(_DownShifted, Deconv2D):
    """The official `down_shifted_deconv2d`."""


@register
class DownRightShiftedConv2D(_DownRightShifted, Conv2D):
    """The official `down_right_shifted_conv2d`."""


@register
class DownRightShiftedDeconv2D(_DownRightShifted, Deconv2D):
    """The official `down_right_shifted_deconv2d`."""


@register
class ConditionalWeights(WeightedLayer):
    """Projection of a condition, [N, L] → [N, 1, 1, units], without bias or norm."""

    kind = "conditional_weights"

    settings = ("units", "seed")

    def __init__(self, units: int, seed: int | None = 0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.seed = seed

    def build(self, input_shape):
        shape, initial = (input_shape[-1], self.units), initial_weights(self.seed)
        self.hw = self.add_weight(name="hw", shape=shape, initializer=initial)

    def call(self, h):
        return ops.matmul(h, self.hw)[:, None, None]  # [N, 1, 1, units]


# The convs and deconvs of each stream of the network.
CONVS = {
    "u": (DownShiftedConv2D, DownShiftedDeconv2D),
    "ul": (DownRightShiftedConv2D, DownRightShiftedDeconv2D),
}


class LayerFactory:
    """Creates and builds layers with the official names, in the official order.

    `layers` lists them. Each takes its initial V or hw from a seed of its own; with
    seed=None they are zeros.
    """

    def __init__(self, seed: int | None = 0):
        self.seed = seed
        self.layers: list[keras.layers.Layer] = []
        self._counts = Counter()

    def __call__(self, layer_class, in_channels: int, units: int, **kwargs):
        name = f"{layer_class.kind}_{self._counts[layer_class.kind]}"
        self._counts[layer_class.kind] += 1
        seed = self.seed
        if seed is not None:
            # A prime, so that layers of nearby seeds differ.
            seed = seed * 1_000_003 + len(self.layers)
        layer = layer_class(units, name=name, seed=seed, **kwargs)
        layer.build((None, None, None, in_channels))
        self.layers.append(layer)
        return layer
