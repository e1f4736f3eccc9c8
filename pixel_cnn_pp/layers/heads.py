"""Output heads: features of a pixel to the parameters of its distribution."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from keras import ops

from pixel_cnn_pp.config import ModelConfig
from pixel_cnn_pp.layers.activations import activate
from pixel_cnn_pp.layers.base import register, set_layers
from pixel_cnn_pp.layers.blocks import ComposedLayer, GatedResnet
from pixel_cnn_pp.layers.convolution import Dense, LayerFactory
from pixel_cnn_pp.layers.runners import LayerRunner, call_layer


def make_head(
    config: ModelConfig, make: LayerFactory, parameter_channels: np.ndarray | None
):
    """The output head, created by `make`; `parameter_channels`: see `ChannelsHead`."""
    f = config.nr_filters
    if config.energy_distance:
        return EnergyHead(f, config.image_shape[-1], make=make)
    if config.autoregressive_channels:
        return ChannelsHead(
            f, parameter_channels, config.resnet_nonlinearity, make=make
        )
    return ParametersHead(f, len(parameter_channels), make=make)


@register
class ParametersHead(ComposedLayer):
    """nin(elu(ul)): the parameters of the pixels' distributions.

    Args:
        nr_filters: F, channels of ul.
        units: D, parameters of a pixel.
    """

    settings = ("nr_filters", "units")

    def __init__(self, nr_filters: int, units: int, **kwargs):
        super().__init__(**kwargs)
        self.nr_filters = nr_filters
        self.units = units
        self.nin = self.make(Dense, nr_filters, units)

    def call(self, ul, x=None):
        return self.forward(call_layer, ul, x)

    def forward(self, run: LayerRunner, ul: tf.Tensor, x=None) -> tf.Tensor:
        """ul [N, H, W, F] → [N, H, W, units]; ignores the pixel x."""
        return run(self.nin, ops.elu(ul))


@register
class ChannelsHead(ComposedLayer):
    """Head that is autoregressive over the channels of the pixel.

    The parameters of channel c come from features of its own: those of channel c − 1
    after a 1×1 gated resnet whose skip connection holds the sub-pixels before c.
    Salimans et al. 2017, section 3.3, "Autoregressive Channel"; the paper says no more
    than that sets of channels are connected by 1×1 gated resnets.

    Args:
        nr_filters: F, channels of ul.
        parameter_channels: [D], the channel of each parameter of the distribution.
        nonlinearity: a key of NONLINEARITIES.
    """

    settings = ("nr_filters", "parameter_channels", "nonlinearity")

    def __init__(
        self,
        nr_filters: int,
        parameter_channels: Sequence[int],
        nonlinearity: str = "concat_elu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.nr_filters = nr_filters
        self.parameter_channels = tuple(int(channel) for channel in parameter_channels)
        self.nonlinearity = nonlinearity
        # Position of each parameter when those of the channels are concatenated.
        self.positions = np.argsort(
            np.argsort(parameter_channels, kind="stable"), kind="stable"
        )
        resnets, nins = [], []
        for c, units in enumerate(np.bincount(parameter_channels)):
            if c:
                resnet = GatedResnet(
                    "ul",
                    (1, 1),
                    nr_filters,
                    nonlinearity=nonlinearity,
                    skip_channels=c,
                    make=self.make,
                )
                resnets.append(resnet)
            nins.append(self.make(Dense, nr_filters, int(units)))
        set_layers(self, "resnets", resnets)
        set_layers(self, "nins", nins)

    def call(self, ul, x):
        return self.forward(call_layer, ul, x)

    def forward(self, run: LayerRunner, ul: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """ul [N, H, W, F], the pixels x [N, H, W, C] in [-1, 1] → [N, H, W, D].

        The parameters of channel c see only the channels of x before c.
        """
        parts = []
        for c, nin in enumerate(self.nins):
            if c:
                ul = self.resnets[c - 1].forward(run, ul, x[..., :c])
            parts.append(run(nin, ops.elu(ul)))
        return ops.take(ops.concatenate(parts, axis=-1), self.positions, axis=-1)


@register
class EnergyHead(ComposedLayer):
    """Head of the energy distance: noise in, samples in [-1, 1] out.

    Args:
        nr_filters: F, channels of ul.
        channels: C of the samples.
    """

    width = 64
    noise_channels = 4

    settings = ("nr_filters", "channels")

    def __init__(self, nr_filters: int, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.nr_filters = nr_filters
        self.channels = channels
        self.nin_ul = self.make(Dense, nr_filters, self.width)
        self.nin_noise = self.make(Dense, self.noise_channels, self.width)
        self.nin_inner = self.make(Dense, 2 * self.width, self.width)
        self.nin_out = self.make(Dense, 2 * self.width, channels, init_scale=0.1)

    def call(self, ul, noise):
        return self.forward(call_layer, ul, noise)

    def forward(self, run: LayerRunner, ul: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """ul [N, H, W, F], noise [S·N, H, W, noise_channels] in (-1, 1) → samples
        [S, N, H, W, C]."""
        f = run(self.nin_ul, ops.elu(ul))
        shape = (-1, *ops.shape(f))
        f = f + ops.reshape(run(self.nin_noise, noise), shape)  # [S, N, H, W, 64]
        f = run(self.nin_inner, activate(f, "concat_elu"))
        return ops.tanh(run(self.nin_out, activate(f, "concat_elu")))
