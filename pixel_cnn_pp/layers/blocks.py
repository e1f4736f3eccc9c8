"""Blocks of the network: input layers and gated resnets, from a topology."""

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

from pixel_cnn_pp.config import ModelConfig
from pixel_cnn_pp.layers.activations import (
    NONLINEARITIES,
    Margins,
    activate,
    activate_and_drop,
    add_gated,
)
from pixel_cnn_pp.layers.base import Float32Layer, set_layers
from pixel_cnn_pp.layers.convolution import (
    ConditionalWeights,
    Conv2D,
    Dense,
    DownRightShiftedConv2D,
    DownRightShiftedDeconv2D,
    DownShiftedConv2D,
    DownShiftedDeconv2D,
    LayerFactory,
    LayerRunner,
    call_layer,
    down_shift,
    right_shift,
)
from pixel_cnn_pp.topology import Block

CONVS = {
    "u": (DownShiftedConv2D, DownShiftedDeconv2D),
    "ul": (DownRightShiftedConv2D, DownRightShiftedDeconv2D),
}


def make_block(
    block: Block, make: LayerFactory, config: ModelConfig
) -> keras.layers.Layer:
    """The layers of one block of the topology, created by `make`."""
    f = config.nr_filters
    conv, deconv = CONVS[block.stream]
    if block.kind == "input":
        return _make_input(block, make, config.image_shape[-1] + 1, f)
    if block.kind == "gated_resnet":
        return GatedResnet(
            make,
            conv,
            block.filter_size,
            f,
            config.resnet_nonlinearity,
            len(block.a) * f,
            config.num_labels,
            config.dropout_p,
        )
    layer = conv if block.kind == "conv" else deconv
    return make(layer, f, f, filter_size=block.filter_size, strides=(2, 2))


def _make_input(block: Block, make: LayerFactory, channels: int, units: int):
    parts = [(DownShiftedConv2D, block.filter_size, down_shift)]
    if block.stream == "ul":
        parts = [
            (DownShiftedConv2D, (1, 3), down_shift),
            (DownRightShiftedConv2D, (2, 1), right_shift),
        ]
    convs = [make(conv, channels, units, filter_size=size) for conv, size, _ in parts]
    return ShiftedInput(convs, [shift for *_, shift in parts])


class GatedResnet(Float32Layer):
    """The official `gated_resnet`: x + a · σ(b), with a, b from two shifted convs.

    Args:
        make: the factory of its layers.
        conv: class of its two convs, and their `filter_size`.
        nr_filters: F, channels of x and of the output.
        nonlinearity: a key of NONLINEARITIES.
        skip_channels: channels of the skip connection `a`; 0 for none.
        num_labels: L, length of the condition `h`; None for none.
        dropout_p: share of the inner activations that training drops.
    """

    def __init__(
        self,
        make: LayerFactory,
        conv: type[Conv2D],
        filter_size: tuple[int, int],
        nr_filters: int,
        nonlinearity: str = "concat_elu",
        skip_channels: int = 0,
        num_labels: int | None = None,
        dropout_p: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.nonlinearity = nonlinearity
        self.dropout_p = dropout_p
        widening = NONLINEARITIES[nonlinearity].widening
        wide = widening * nr_filters
        self.conv_1 = make(conv, wide, nr_filters, filter_size=filter_size)
        self.nin = self.conditional = None
        if skip_channels:
            self.nin = make(Dense, widening * skip_channels, nr_filters)
        self.conv_2 = make(
            conv, wide, 2 * nr_filters, filter_size=filter_size, init_scale=0.1
        )
        if num_labels:
            self.conditional = make(ConditionalWeights, num_labels, 2 * nr_filters)

    def call(self, x, a=None, h=None, dropout_seed=None):
        return self.forward(call_layer, x, a, h, dropout_seed)

    def forward(
        self,
        run: LayerRunner,
        x: tf.Tensor,
        a: tf.Tensor | None = None,
        h: tf.Tensor | None = None,
        dropout_seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """x [N, H, W, F] → [N, H, W, F]; a [N, H, W, skip_channels]; h [N, L].

        Nothing is dropped without `dropout_seed`, int32 [2].
        """

        def activate_inner(c1, *margins):
            name, p = self.nonlinearity, self.dropout_p
            if p == 0 or dropout_seed is None:
                return activate(c1, name, *margins)
            return activate_and_drop(c1, name, p, dropout_seed, *margins)

        c1 = run(self.conv_1, x, self.activate)
        if self.nin is not None:
            c1 = c1 + run(self.nin, a, self.activate)
        c2 = run(self.conv_2, c1, activate_inner)  # [N, H, W, 2F]
        if self.conditional is not None:
            c2 = c2 + ops.cast(run(self.conditional, h), c2.dtype)
        return add_gated(x, c2)

    def activate(self, x: tf.Tensor, *margins: Margins) -> tf.Tensor:
        return activate(x, self.nonlinearity, *margins)


class ShiftedInput(Float32Layer):
    """Input layer of a stream: the sum of convs of the image, each output shifted.

    The output is shifted, not the image, so its first row or column holds zeros, not
    biases.
    """

    def __init__(self, convs: list[Conv2D], shifts: list[Callable], **kwargs):
        super().__init__(**kwargs)
        set_layers(self, "convs", convs)
        self.shifts = shifts

    def call(self, x):
        return self.forward(call_layer, x)

    def forward(self, run: LayerRunner, x: tf.Tensor) -> tf.Tensor:
        """x [N, H, W, C + 1], the image and its channel of ones → [N, H, W, F]."""
        parts = zip(self.convs, self.shifts, strict=True)
        return sum(shift(run(conv, x)) for conv, shift in parts)
