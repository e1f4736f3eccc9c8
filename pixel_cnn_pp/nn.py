"""Layers: weight-normalised dense, conv and deconv, and their shifted forms."""

from collections import Counter
from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

from pixel_cnn_pp.gradients import custom_gradient
from pixel_cnn_pp.nonlinearities import NO_MARGINS, Margins, pad

# name: the type of the maps
PRECISIONS = {"float32": "float32", "mixed_bfloat16": "bfloat16"}
# before(x, margins): see `WeightNorm.call`.
Before = Callable[[tf.Tensor, Margins], tf.Tensor]
# How a layer is run: run(layer, x) or run(layer, x, before=…); see `WeightNorm.call`.
Run = Callable[..., tf.Tensor]


def call_layer(layer: keras.layers.Layer, x: tf.Tensor, **before) -> tf.Tensor:
    """The ordinary way to run a layer; `initialize_layer` is the other."""
    return layer(x, **before)


def first_weights(seed: int | None) -> keras.initializers.Initializer:
    """Normal with deviation .05, as the official code has it; zeros without a seed."""
    if seed is None:
        return keras.initializers.Zeros()
    return keras.initializers.RandomNormal(stddev=0.05, seed=seed)


def initialize_layer(layer: keras.layers.Layer, x: tf.Tensor, **before) -> tf.Tensor:
    """Runs a layer after setting its g and b from the data, where it has them."""
    initializes = isinstance(layer, WeightNorm)
    return layer.initialize(x, **before) if initializes else layer(x)


def down_shift(x: tf.Tensor) -> tf.Tensor:
    """Moves [N, H, W, F] one row down; zeros come in at the top."""
    kept = tf.slice(x, [0, 0, 0, 0], [-1, x.shape[1] - 1, -1, -1])
    return ops.pad(kept, [[0, 0], [1, 0], [0, 0], [0, 0]])


def right_shift(x: tf.Tensor) -> tf.Tensor:
    """Moves [N, H, W, F] one column to the right; zeros come in on the left."""
    kept = tf.slice(x, [0, 0, 0, 0], [-1, -1, x.shape[2] - 1, -1])
    return ops.pad(kept, [[0, 0], [0, 0], [1, 0], [0, 0]])


@custom_gradient
def weight_norm(V: tf.Tensor, g: tf.Tensor, *, unit_axis: int) -> tf.Tensor:
    """g · V / ‖V‖, the norm over all axes but `unit_axis`, that of the output units.

    Salimans & Kingma 2016, eq. 2; its gradient, eq. 3, is written out, because what
    differentiation makes of the formula is a third more work.
    """
    others = [axis for axis in range(len(V.shape)) if axis != unit_axis]
    # In the official order of operations: the same to the last bit.
    squared_norm = tf.reduce_sum(tf.square(V), others, keepdims=True)
    inverse = tf.math.rsqrt(tf.maximum(squared_norm, 1e-12))
    g = tf.reshape(g, inverse.shape)

    def gradient(upstream):
        along = tf.reduce_sum(upstream * V, others, keepdims=True) * inverse
        across = upstream - V * (along * inverse)
        return g * inverse * across, tf.reshape(along, [-1])

    return g * (V * inverse), gradient


class WeightNorm(keras.layers.Layer):
    """Linear map with the kernel g · V / ‖V‖ and the bias b. Salimans & Kingma 2016.

    The kernel is rounded to what `rounded_to` can hold, 'float32' or 'bfloat16'. It is
    made in float32 and applied in the type of the input.

    A subclass says how V is shaped (`kernel_shape`, `unit_axis`), how it is applied to
    an input (`linear`), how many zeros come around that before (`padding`), and what
    is cropped after (`crop`).
    """

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
        shape, first = self.kernel_shape(input_shape[-1]), first_weights(self.seed)
        self.V = self.add_weight(name="V", shape=shape, initializer=first)
        self.g = self.add_weight(name="g", shape=(self.units,), initializer="ones")
        self.b = self.add_weight(name="b", shape=(self.units,), initializer="zeros")

    def kernel(self) -> tf.Tensor:
        """g · V / ‖V‖, the norm over all axes but the one of the output units."""
        V, g = (tf.convert_to_tensor(weight.value) for weight in (self.V, self.g))
        kernel = weight_norm(V, g, unit_axis=self.unit_axis % len(V.shape))
        return ops.cast(ops.cast(kernel, self.rounded_to), "float32")

    def kernel_shape(self, in_channels: int) -> tuple[int, ...]:
        raise TypeError(f"{type(self).__name__} must say how V is shaped.")

    def linear(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        raise TypeError(f"{type(self).__name__} must say how its kernel is applied.")

    def output(self, x: tf.Tensor) -> tf.Tensor:
        """The linear map of a padded input, with its bias."""
        return self.add_bias(self.linear(x, ops.cast(self.kernel(), x.dtype)))

    def add_bias(self, y: tf.Tensor) -> tf.Tensor:
        b = tf.convert_to_tensor(self.b.value)
        return tf.nn.bias_add(y, tf.cast(b, y.dtype))

    def padding(self) -> Margins:
        """Zeros that come around the input."""
        return NO_MARGINS

    def crop(self, y: tf.Tensor) -> tf.Tensor:
        return y

    def call(self, x, before: Before = pad):
        """The map of before(x, margins), which puts zeros around x and may do more.
        What it makes is the input of the linear map, which its gradient needs too, and
        is held in memory once."""
        return self.crop(self.output(before(x, self.padding())))

    def initialize(self, x: tf.Tensor, before: Before = pad) -> tf.Tensor:
        """Sets g and b so that each unit's output on before(x) has mean 0 and standard
        deviation `init_scale`; returns that output. The moments are those before the
        cropping, as in the official code."""
        y = self.output(before(x, self.padding()))
        mean, variance = ops.moments(y, axes=list(range(len(y.shape) - 1)))
        # Deviation: a unit that does not vary on these images (as in u where the image
        # is one pixel of the coarsest stage) keeps its scale, which the official code
        # multiplies by 1e5.
        varies = variance > 1e-10
        scale = ops.where(varies, self.init_scale / ops.sqrt(variance + 1e-10), 1.0)
        self.g.assign(self.g * scale)
        self.b.assign(self.b - mean * scale)
        return self(x, before=before)

    def get_config(self):
        own = {"units": self.units, "init_scale": self.init_scale, "seed": self.seed}
        return super().get_config() | own


class Dense(WeightNorm):
    """Dense layer on the last axis: the official `dense` and `nin` (1×1 conv)."""

    kind = "dense"

    def kernel_shape(self, in_channels):
        return (in_channels, self.units)

    def linear(self, x, kernel):
        rows = ops.reshape(x, (-1, x.shape[-1]))
        y = ops.matmul(rows, kernel)
        return ops.reshape(y, (*ops.shape(x)[:-1], self.units))

    def output(self, x):
        if self.rounded_to != "float32" or x.dtype != "float32":
            return super().output(x)
        # The official dense scales after the product; so does this, to the last bit.
        V, g = (tf.convert_to_tensor(weight.value) for weight in (self.V, self.g))
        scale = g / tf.sqrt(tf.reduce_sum(tf.square(V), axis=0))
        return self.add_bias(scale * self.linear(x, V))


class _Spatial(WeightNorm):
    """What conv and deconv share: kernel size, strides, and where the zeros lie."""

    def __init__(self, units: int, filter_size=(2, 3), strides=(1, 1), **kwargs):
        super().__init__(units, **kwargs)
        self.filter_size = tuple(filter_size)
        self.strides = tuple(strides)

    def margins(self) -> Margins:
        """Zeros that a stride-1 conv needs on top, on the left and on the right."""
        return (0, 0, 0)

    def get_config(self):
        own = {"filter_size": self.filter_size, "strides": self.strides}
        return super().get_config() | own


class Conv2D(_Spatial):
    """VALID convolution of the input, padded by `margins`."""

    kind = "conv2d"

    def kernel_shape(self, in_channels):
        return (*self.filter_size, in_channels, self.units)

    def linear(self, x, kernel):
        return ops.conv(x, kernel, strides=self.strides, padding="valid")

    def padding(self):
        return self.margins()


class Deconv2D(_Spatial):
    """VALID transposed convolution, its output cropped by the mirrored `margins`."""

    kind = "deconv2d"
    unit_axis = 2

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


class DownShiftedConv2D(_DownShifted, Conv2D):
    """The official `down_shifted_conv2d`."""


class DownShiftedDeconv2D(_DownShifted, Deconv2D):
    """The official `down_shifted_deconv2d`."""


class DownRightShiftedConv2D(_DownRightShifted, Conv2D):
    """The official `down_right_shifted_conv2d`."""


class DownRightShiftedDeconv2D(_DownRightShifted, Deconv2D):
    """The official `down_right_shifted_deconv2d`."""


class ConditionalWeights(keras.layers.Layer):
    """Projection of a condition, [N, L] → [N, 1, 1, units], without bias or norm."""

    kind = "conditional_weights"

    def __init__(self, units: int, seed: int | None = 0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.seed = seed

    def build(self, input_shape):
        shape, first = (input_shape[-1], self.units), first_weights(self.seed)
        self.hw = self.add_weight(name="hw", shape=shape, initializer=first)

    def call(self, h):
        return ops.matmul(h, self.hw)[:, None, None]  # [N, 1, 1, units]

    def get_config(self):
        return super().get_config() | {"units": self.units, "seed": self.seed}


class LayerFactory:
    """Makes built layers under the official names, in the official order of creation.

    `layers` lists them. Each draws its first V or hw from a seed of its own; without a
    seed they are zeros.
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
