"""Plain kernels for sampling: the weight norm folded in, once per call."""

import dataclasses

import tensorflow as tf

from pixel_cnn_pp.layers.activations import NO_MARGINS, Prepare, pad
from pixel_cnn_pp.layers.blocks import GatedResnet
from pixel_cnn_pp.layers.weight_norm import WeightNorm, kernels_of
from pixel_cnn_pp.network import Network
from pixel_cnn_pp.sampling.cache import convs_of

Kernels = dict[str, tf.Tensor]


def fold_kernels(network: Network) -> Kernels:
    """Kernels g · V / ‖V‖ and biases of all weight-normalised layers, by name.

    Those of ul are split into the part applied to a whole row at once, 'NAME/row', and
    the part applied to a pixel, 'NAME/pixel': for a conv the kernel's rows above and
    its last row, for a skip connection the input channels of u and those of ul. The
    part of a skip connection's kernel for ul is appended to the rows of conv_1's
    'pixel' kernel, so that one product yields both sums. All are stored in the type
    that the network's kernels are rounded to.
    """
    kernels, unfolded = {}, kernels_of(network.linear_layers)
    for layer in network.linear_layers:
        kernel = tf.cast(unfolded[layer.name], layer.rounded_to)
        kernels[f"{layer.name}/kernel"] = kernel
        kernels[f"{layer.name}/b"] = tf.convert_to_tensor(layer.b.value)

    def pop(layer):
        return kernels.pop(f"{layer.name}/kernel")

    for index, block in enumerate(network.topology):
        layer = network.blocks[index]
        convs = convs_of(network, index) if block.stream == "ul" else []
        for conv in convs:
            kernel = pop(conv)
            kernels[f"{conv.name}/row"] = kernel[:-1]
            kernels[f"{conv.name}/pixel"] = tf.reshape(kernel[-1], [-1, conv.units])
        if convs and block.kind == "gated_resnet":
            units, num_inputs = layer.nin.units, len(block.a)
            # Input channels are [half of concat_elu, index in block.a, filter].
            kernel = tf.reshape(pop(layer.nin), [-1, num_inputs, units, units])
            num_u = [network.topology[a].stream for a in block.a].count("u")
            row, pixel = (
                tf.reshape(part, [-1, units])
                for part in (kernel[:, :num_u], kernel[:, num_u:])
            )
            key = f"{layer.conv_1.name}/pixel"
            kernels[f"{layer.nin.name}/row"] = row
            kernels[key] = tf.concat([kernels[key], pixel], axis=0)
    return kernels


def conditions_of(network: Network, labels: tf.Tensor | None) -> Kernels:
    """What labels, int32 [N], add to each block of a class-conditional model."""
    layers = [
        layer.conditional
        for layer in network.blocks
        if isinstance(layer, GatedResnet) and layer.conditional is not None
    ]
    h = network.condition(labels) if layers else None
    return {layer.name: layer(h) for layer in layers}  # [N, 1, 1, 2F]


@dataclasses.dataclass(frozen=True, eq=False)
class FoldedNetwork:
    """A Network with the kernels and conditions of a batch of n images."""

    network: Network
    kernels: Kernels  # See `fold_kernels`.
    conditions: Kernels  # See `conditions_of`.
    n: tf.Tensor

    def kernel(self, layer: WeightNorm, part: str = "kernel") -> tf.Tensor:
        """A folded kernel, or its 'row' or 'pixel' part, in float32."""
        return tf.cast(self.kernels[f"{layer.name}/{part}"], tf.float32)

    def projected(self, block: GatedResnet) -> tf.Tensor | None:
        """What the labels add in a block, [N, 1, 1, 2F]; None without labels."""
        layer = block.conditional
        return None if layer is None else self.conditions[layer.name]

    def bias(self, layer: WeightNorm) -> tf.Tensor:
        return self.kernels[f"{layer.name}/b"]

    def run_plain(
        self, layer: WeightNorm, x: tf.Tensor, prepare: Prepare = pad
    ) -> tf.Tensor:
        """A layer with its folded kernel; the layer runner of the head."""
        y = layer.linear(prepare(x, NO_MARGINS), self.kernel(layer))
        return y + self.bias(layer)
