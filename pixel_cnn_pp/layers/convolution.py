"""Layers: weight-normalised dense, conv and deconv, and their shifted forms."""

import abc
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import keras
import tensorflow as tf
from keras import ops

from pixel_cnn_pp.layers.activations import NO_MARGINS, Margins, pad
from pixel_cnn_pp.layers.base import WeightedLayer, register
from pixel_cnn_pp.layers.weight_norm import kernels_of

Prepare = Callable[[tf.Tensor, Margins], tf.Tensor]


class LayerRunner(Protocol):
    """How a block runs its weight-normalised layers: run(layer, x) → the output.

    Blocks and heads never call a layer themselves. They are given a runner, so that one
    forward pass per block serves the whole image (`call_layer`), the data-dependent
    initialisation (`initialize_layer`) and the row and pixel steps of the sampler.

    prepare(x, margins) pads x for the layer, and may apply the activation and dropout
    on the way. Its result is the input of the linear map, which the gradient needs too,
    so it is held in memory once.
    """

    def __call__(
        self, layer: "WeightNorm", x: tf.Tensor, prepare: Prepare = pad
    ) -> tf.Tensor: ...


def call_layer(layer, x, prepare: Prepare = pad) -> tf.Tensor:
    """The runner of training and scoring."""
    return layer(x, prepare=prepare)


def call_with(kernels: dict[str, tf.Tensor]) -> LayerRunner:
    """`call_layer` with the kernels of all layers, from `kernels_of`."""

    def run(layer, x, prepare: Prepare = pad):
        return layer(x, prepare=prepare, kernel=kernels[layer.name])

    return run


def initialize_layer(layer, x, prepare: Prepare = pad) -> tf.Tensor:
    """The runner that sets g and b of each layer from its output first."""
    return layer.initialize(x, prepare=prepare)


def initial_weights(seed: int | None) -> keras.initializers.Initializer:
    """Normal with standard deviation .05, as in the official code; zeros for None."""
    if seed is None:
        return keras.initializers.Zeros()
    return keras.initializers.RandomNormal(stddev=0.05, seed=seed)


def down_shift(x: tf.Tensor) -> tf.Tensor:
    """Shifts [N, H, W, F] one row down; the first row becomes zero."""
    kept = tf.slice(x, [0, 0, 0, 0], [-1, x.shape[1] - 1, -1, -1])
    return pad(kept, (1, 0, 0))


def right_shift(x: tf.Tensor) -> tf.Tensor:
    """Shifts [N, H, W, F] one column to the right; the first column becomes zero."""
    kept = tf.slice(x, [0, 0, 0, 0], [-1, -1, x.shape[2] - 1, -1])
    return pad(kept, (0, 1, 0))


class WeightNorm(WeightedLayer, abc.ABC):
    """Linear map with the kernel g · V / ‖V‖ and the bias b. Salimans & Kingma 2016.

    The kernel is computed in float32, rounded to `rounded_to` ('float32' or
    'bfloat16') and applied in the type of the input.

    A subclass defines the shape of V (`kernel_shape`, `unit_axis`), the linear map
    (`linear`), the padding of its input (`padding`) and the crop of its output
    (`crop`).
    """

    settings = ("units", "init_scale", "seed")
    kind = ""
    unit_axis = -1
    rounded_to = "float32"

    def __init__(
        self, units: int, init_scale: float = 1.0, seed: int | None = 0, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)
        self.units = units
        self.init_scale = init_scale
        self.seed = seed

    def build(self, input_shape):
        shape, initial = self.kernel_shape(input_shape[-1]), initial_weights(self.seed)
        self.V = self.add_weight(name="V", shape=shape, initializer=initial)
        self.g = self.add_weight(name="g", shape=(self.units,), initializer="ones")
        self.b = self.add_weight(name="b", shape=(self.units,), initializer="zeros")

    def kernel(self) -> tf.Tensor:
        """g · V / ‖V‖, the norm over all axes but the one of the output units."""
        return kernels_of([self])[self.name]

    @abc.abstractmethod
    def kernel_shape(self, in_channels: int) -> tuple[int, ...]:
        """Shape of V."""

    @abc.abstractmethod
    def linear(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Applies a kernel to a padded input."""

    def output(self, x: tf.Tensor, kernel: tf.Tensor | None = None) -> tf.Tensor:
        """The linear map of a padded input, with its bias."""
        kernel = self.kernel() if kernel is None else kernel
        y = self.linear(x, ops.cast(kernel, x.dtype))
        b = tf.convert_to_tensor(self.b.value)
        return tf.nn.bias_add(y, tf.cast(b, y.dtype))

    def padding(self) -> Margins:
        """Zeros around the input of the linear map: top, left, right."""
        return NO_MARGINS

    def crop(self, y: tf.Tensor) -> tf.Tensor:
        return y

    def call(self, x, prepare: Prepare = pad, kernel=None):
        """The linear map of prepare(x, margins), see `LayerRunner`, cropped.

        `kernel`: its own, where that was computed before.
        """
        return self.crop(self.output(prepare(x, self.padding()), kernel))

    def initialize(self, x: tf.Tensor, prepare: Prepare = pad) -> tf.Tensor:
        """Sets g and b so that each unit's output on prepare(x) has mean 0 and standard
        deviation `init_scale`; returns that output. The moments are taken before the
        crop, as in the official code."""
        y = self.output(prepare(x, self.padding()))
        mean, variance = ops.moments(y, axes=list(range(len(y.shape) - 1)))
        # Difference from the official code, which multiplies by 1e5: a unit that is
        # constant on these images (as in u where the image is one pixel of the coarsest
        # stage) keeps its scale.
        varies = variance > 1e-10
        scale = ops.where(varies, self.init_scale / ops.sqrt(variance + 1e-10), 1.0)
        self.g.assign(self.g * scale)
        self.b.assign(self.b - mean * scale)
        return self(x, prepare=prepare)


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
        """Padding of a conv, mirrored crop of a deconv: top, left, right; none here."""
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
            seed = seed * 1_000_003 + len(self.layers)
        layer = layer_class(units, name=name, seed=seed, **kwargs)
        layer.build((None, None, None, in_channels))
        self.layers.append(layer)
        return layer
