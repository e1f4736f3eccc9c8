"""The cache of the incremental pass: which rows of which activations it holds."""

from collections.abc import Iterator

import tensorflow as tf

from pixel_cnn_pp.layers.blocks import ShiftedInput
from pixel_cnn_pp.layers.convolution import down_shift, right_shift
from pixel_cnn_pp.network import Network

Cache = dict[str, tf.Tensor]
# Rows and columns by which a shift moves the output of an input layer.
SHIFTS = {down_shift: (1, 0), right_shift: (0, 1)}


def empty_cache(network: Network, n: tf.Tensor) -> Cache:
    """The cache before the first pixel: an empty image, all activations zero."""
    height, width, channels = network.image_shape
    top, left, right = image_margins(network)
    right += network.map_shape[1] - width
    image = tf.zeros([n, height, width, channels])
    image = tf.concat([image, tf.ones_like(image[..., :1])], axis=-1)
    image = tf.pad(image, [[0, 0], [top, 0], [left, right], [0, 0]])
    shapes = {}
    for index in range(len(network.topology)):
        shapes |= cache_shapes(network, index)
    zeros = {key: tf.zeros([n, *shape]) for key, shape in shapes.items()}
    return {"image": image} | zeros


def cache_shapes(network: Network, index: int) -> dict[str, tuple[int, int, int]]:
    """Keys and shapes [rows, columns, channels] of the cache of block `index`.

    'NAME/rows': the last rows of the input of a conv, as many as its kernel has;
    'NAME/precomputed': the part of an output of ul that is computed for a row at once;
    'NAME/map': the output of a deconv, which is read more often than computed.
    """
    block, layer = network.topology[index], network.blocks[index]
    width = network.map_shape[1] // block.stride
    if block.kind == "input":
        return {}
    if block.kind == "deconv":
        return {f"{layer.name}/map": (layer.strides[0], width, layer.units)}
    shapes = {}
    for conv in [layer] if block.kind == "conv" else [layer.conv_1, layer.conv_2]:
        rows, columns, in_channels, _ = conv.V.shape
        in_width = width * conv.strides[1]
        shapes[f"{conv.name}/rows"] = (rows, in_width + columns - 1, in_channels)
        if block.stream == "ul":
            shapes[f"{conv.name}/precomputed"] = (1, width, conv.units)
    if block.kind == "gated_resnet" and block.stream == "ul":
        shapes[f"{layer.nin.name}/precomputed"] = (1, width, layer.nin.units)
    return shapes


def input_stride(network: Network, index: int) -> int:
    """Stride of the feature map that block `index` reads."""
    block = network.topology[index]
    return block.stride if block.x < 0 else network.topology[block.x].stride


def input_parts(layer: ShiftedInput) -> Iterator[tuple]:
    """For each part of an input layer: the conv, the shift of its output (rows,
    columns), and how far it reads from there (above, to the left, to the right)."""
    for conv, shift in zip(layer.convs, layer.shifts, strict=True):
        down, across = SHIFTS[shift]
        top, left, right = conv.margins()
        yield conv, (down, across), (top + down, left + across, right - across)


def image_margins(network: Network) -> list[int]:
    """How far the input layers read above, to the left and to the right."""
    inputs = [block for block in network.blocks if isinstance(block, ShiftedInput)]
    reaches = [reach for block in inputs for _, _, reach in input_parts(block)]
    return [max(reach) for reach in zip(*reaches, strict=True)]


def keep_shapes(before: Cache, after: Cache) -> Cache:
    """`after` with the static shapes of `before`, which tf.while_loop requires."""
    return {key: tf.ensure_shape(after[key], before[key].shape) for key in before}
