"""Layer runners: how blocks and heads run their weight-normalised layers."""

from typing import Protocol

import tensorflow as tf

from pixel_cnn_pp.layers.activations import Prepare, pad
from pixel_cnn_pp.layers.weight_norm import WeightNorm


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
        self, layer: WeightNorm, x: tf.Tensor, prepare: Prepare = pad
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
