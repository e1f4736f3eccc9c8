"""Blocks of the network: input layers and gated resnets, from a topology."""

import keras
import tensorflow as tf
from keras import ops

from pixel_cnn_pp.config import ModelConfig
from pixel_cnn_pp.layers.activations import (
    NO_MARGINS,
    NONLINEARITIES,
    Margins,
    activate,
    activate_and_drop,
    add_gated,
)
from pixel_cnn_pp.layers.base import Float32Layer, register, set_layers
from pixel_cnn_pp.layers.convolution import (
    CONVS,
    ConditionalWeights,
    Dense,
    DownRightShiftedConv2D,
    DownShiftedConv2D,
    LayerFactory,
    down_shift,
    right_shift,
)
from pixel_cnn_pp.layers.runners import LayerRunner, call_layer
from pixel_cnn_pp.topology import Block


def make_block(
    block: Block, make: LayerFactory, config: ModelConfig
) -> keras.layers.Layer:
    """The layers of one block of the topology, created by `make`."""
    f, size = config.nr_filters, block.filter_size
    if block.kind == "input":
        channels = (config.embedding_size or config.image_shape[-1]) + 1
        return ShiftedInput(block.stream, size, f, channels, make=make)
    if block.kind == "gated_resnet":
        return GatedResnet(
            block.stream,
            size,
            f,
            nonlinearity=config.resnet_nonlinearity,
            skip_channels=len(block.a) * f,
            num_labels=config.num_labels,
            dropout_p=config.dropout_p,
            make=make,
        )
    conv, deconv = CONVS[block.stream]
    layer = conv if block.kind == "conv" else deconv
    return make(layer, f, f, filter_size=size, strides=(2, 2))


def make_embedding(config: ModelConfig, make: LayerFactory) -> Dense | None:
    """The embedding of codes, a layer on their one-hot vectors; None for pixel values.

    Raises ValueError for images of more than one channel.
    """
    if config.embedding_size is None:
        return None
    channels = config.image_shape[-1]
    if channels != 1:
        raise ValueError(
            f"embedding_size={config.embedding_size}: images of codes have one "
            f"channel, and these have {channels}; put the codes of a position side by "
            "side, [N, H, W · C, 1]."
        )
    return make(Dense, config.num_levels, config.embedding_size)


class ComposedLayer(Float32Layer):
    """A layer that `make`s its weight-normalised layers, and runs them in `forward`.

    Args:
        seed: of the initial weights.
        make: the factory of its layers, by default its own.
    """

    def __init__(self, seed: int = 0, make: LayerFactory | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.make = make or LayerFactory(seed)
        self.built = True  # The factory builds each layer as it makes it.

    def get_config(self):
        return super().get_config() | {"seed": self.seed}


@register
class GatedResnet(ComposedLayer):
    """The official `gated_resnet`: x + a · σ(b), with a, b from two shifted convs.

    Args:
        stream: 'u' for down-shifted convs, 'ul' for down-right-shifted ones.
        filter_size: rows and columns of their kernels.
        nr_filters: F, channels of x and of the output.
        nonlinearity: a key of NONLINEARITIES.
        skip_channels: channels of the skip connection `a`; 0 for none.
        num_labels: L, length of the condition `h`; None for none.
        dropout_p: share of the inner activations that training drops.
    """

    settings = (
        "stream",
        "filter_size",
        "nr_filters",
        "nonlinearity",
        "skip_channels",
        "num_labels",
        "dropout_p",
    )

    def __init__(
        self,
        stream: str,
        filter_size: tuple[int, int],
        nr_filters: int,
        nonlinearity: str = "concat_elu",
        skip_channels: int = 0,
        num_labels: int | None = None,
        dropout_p: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.stream = stream
        self.filter_size = tuple(filter_size)
        self.nr_filters = nr_filters
        self.nonlinearity = nonlinearity
        self.skip_channels = skip_channels
        self.num_labels = num_labels
        self.dropout_p = dropout_p
        conv, _ = CONVS[stream]
        widening = NONLINEARITIES[nonlinearity].widening
        wide, size = widening * nr_filters, self.filter_size
        self.conv_1 = self.make(conv, wide, nr_filters, filter_size=size)
        self.nin = self.conditional = None
        if skip_channels:
            self.nin = self.make(Dense, widening * skip_channels, nr_filters)
        self.conv_2 = self.make(
            conv, wide, 2 * nr_filters, filter_size=size, init_scale=0.1
        )
        if num_labels:
            self.conditional = self.make(ConditionalWeights, num_labels, 2 * nr_filters)

    def call(self, x, a=None, h=None, dropout_seed=None, training=False):
        """As `forward`; in training without `dropout_seed` the masks are random."""
        if training and dropout_seed is None:
            limit = tf.int32.max
            dropout_seed = tf.random.uniform([2], maxval=limit, dtype=tf.int32)
        return self.forward(call_layer, x, a, self.project(h), dropout_seed)

    def project(self, h: tf.Tensor | None) -> tf.Tensor | None:
        """What a condition h [N, L] adds, [N, 1, 1, 2F]; None without num_labels."""
        return None if self.conditional is None else self.conditional(h)

    def forward(
        self,
        run: LayerRunner,
        x: tf.Tensor,
        a: tf.Tensor | None = None,
        projected: tf.Tensor | None = None,
        dropout_seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """x [N, H, W, F] → [N, H, W, F]; a [N, H, W, skip_channels]; `projected` is
        that of `self.project`. Nothing is dropped without `dropout_seed`, int32 [2].
        """

        def activate_inner(c1, margins: Margins):
            name, p = self.nonlinearity, self.dropout_p
            if p == 0 or dropout_seed is None:
                return activate(c1, name, margins)
            return activate_and_drop(c1, name, p, dropout_seed, margins)

        c1 = run(self.conv_1, x, self.activate)
        if self.nin is not None:
            c1 = c1 + run(self.nin, a, self.activate)
        c2 = run(self.conv_2, c1, activate_inner)  # [N, H, W, 2F]
        if projected is not None:
            c2 = c2 + ops.cast(projected, c2.dtype)
        return add_gated(x, c2)

    def activate(self, x: tf.Tensor, margins: Margins = NO_MARGINS) -> tf.Tensor:
        return activate(x, self.nonlinearity, margins)


@register
class ShiftedInput(ComposedLayer):
    """Input layer of a stream: the sum of convs of the image, each output shifted.

    The output is shifted, not the image, so its first row or column holds zeros, not
    biases.

    Args:
        stream: 'u' for one conv of the rows above; 'ul' for the sum of 1×3 of the row
            above and 2×1 of the column to the left.
        filter_size: of the conv of 'u'.
        nr_filters: F, channels of the output.
        channels: of its input, the channel of ones included.
    """

    settings = ("stream", "filter_size", "nr_filters", "channels")

    def __init__(
        self,
        stream: str,
        filter_size: tuple[int, int],
        nr_filters: int,
        channels: int,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.stream = stream
        self.filter_size = tuple(filter_size)
        self.nr_filters = nr_filters
        self.channels = channels
        parts = [(DownShiftedConv2D, self.filter_size, down_shift)]
        if stream == "ul":
            parts = [
                (DownShiftedConv2D, (1, 3), down_shift),
                (DownRightShiftedConv2D, (2, 1), right_shift),
            ]
        convs = [
            self.make(conv, channels, nr_filters, filter_size=size)
            for conv, size, _ in parts
        ]
        set_layers(self, "convs", convs)
        self.shifts = [shift for *_, shift in parts]

    def call(self, x):
        return self.forward(call_layer, x)

    def forward(self, run: LayerRunner, x: tf.Tensor) -> tf.Tensor:
        """x [N, H, W, C + 1], the image and its channel of ones → [N, H, W, F]."""
        parts = zip(self.convs, self.shifts, strict=True)
        return sum(shift(run(conv, x)) for conv, shift in parts)
