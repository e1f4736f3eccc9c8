"""Plain kernels for the incremental pass: the weight norm folded in, once per call."""

import tensorflow as tf

from pixel_cnn_pp.blocks import GatedResnet

Folded = dict[str, tf.Tensor]


def fold(model) -> Folded:
    """Kernels g · V / ‖V‖ and biases of all weight-normalised layers, by name.

    Those of ul are split into what they make of a whole row at once, 'NAME/row', and
    what they make of a pixel, 'NAME/pixel': the kernel of a conv into its rows for the
    rows above and the one for its own row, that of a short-cut into its rows for the
    maps of u and those for the maps of ul. They are kept in the type that the model's
    kernels are rounded to.
    """
    folded = {}
    for layer in model.linear_layers:
        folded[f"{layer.name}/kernel"] = layer.kernel()
        folded[f"{layer.name}/b"] = tf.convert_to_tensor(layer.b.value)

    def split(layer, row, pixel):
        del folded[f"{layer.name}/kernel"]
        folded[f"{layer.name}/row"] = row
        folded[f"{layer.name}/pixel"] = tf.reshape(pixel, [-1, layer.units])

    for block, layer in zip(model.topology, model.blocks, strict=True):
        if block.stream == "u" or block.kind not in ("conv", "gated_resnet"):
            continue
        convs = [layer] if block.kind == "conv" else [layer.conv_1, layer.conv_2]
        for conv in convs:
            kernel = folded[f"{conv.name}/kernel"]
            split(conv, kernel[:-1], kernel[-1])
        if block.kind == "gated_resnet":
            kernel = folded[f"{layer.nin.name}/kernel"]
            # A nonlinearity that widens the channels does so for all the maps in turn.
            maps, f = len(block.a), model.config["nr_filters"]
            kernel = tf.reshape(kernel, [-1, maps, f, layer.nin.units])
            of_u = [model.topology[a].stream == "u" for a in block.a].count(True)
            row = tf.reshape(kernel[:, :of_u], [-1, layer.nin.units])
            split(layer.nin, row, kernel[:, of_u:])
    for layer in model.linear_layers:
        for part in ("kernel", "row", "pixel"):
            if (key := f"{layer.name}/{part}") in folded:
                folded[key] = tf.cast(folded[key], layer.rounded_to)
    return folded


def condition(model, labels: tf.Tensor | None) -> Folded:
    """What labels, int32 [N], add to the blocks of a class-conditional model."""
    layers = [
        layer.conditional
        for layer in model.blocks
        if isinstance(layer, GatedResnet) and layer.conditional is not None
    ]
    h = model.condition(labels) if layers else None
    return {layer.name: layer(h) for layer in layers}  # [N, 1, 1, 2F]
