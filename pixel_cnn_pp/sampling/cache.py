"""The cache of the incremental pass: which rows of which activations it holds."""

import dataclasses
from collections.abc import Iterator

import tensorflow as tf

from pixel_cnn_pp.layers.activations import Margins, pad
from pixel_cnn_pp.layers.blocks import ShiftedInput
from pixel_cnn_pp.layers.convolution import Conv2D, down_shift, right_shift
from pixel_cnn_pp.network import Network

Cache = dict[str, tf.Tensor]
# Rows and columns by which a shift moves the output of an input layer.
SHIFTS = {down_shift: (1, 0), right_shift: (0, 1)}


def empty_cache(network: Network, n: tf.Tensor) -> Cache:
    """The cache before the first pixel: an empty image, all activations zero."""
    height, width, channels = network.image_shape
    top, left, right = image_margins(network)
    right += network.padded_shape[1] - width
    image = tf.zeros([n, height, width, channels])
    image = tf.concat([image, tf.ones_like(image[..., :1])], axis=-1)
    image = pad(image, (top, left, right))
    shapes = {}
    for index in range(len(network.topology)):
        shapes |= cache_shapes(network, index)
    for layout in row_layouts(network).values():
        columns = layout.margin + network.padded_shape[1] // layout.stride
        channels = sum(count for _, count in layout.channels.values())
        shapes[layout.row_key] = (1, columns, channels)
        shapes[layout.left_key] = (1, layout.margin, channels)
    zeros = {key: tf.zeros([n, *shape]) for key, shape in shapes.items()}
    return {"image": image} | zeros


def cache_shapes(network: Network, index: int) -> dict[str, tuple[int, int, int]]:
    """Keys and shapes [rows, columns, channels] of the cache of block `index`.

    'NAME/rows': the rows of the input of a conv that its kernel spans, for u the row
    being computed included; for ul only the rows above;
    'NAME/precomputed': the part of an output of ul that is computed for a row at once;
    'NAME/output': the output of a deconv, which is read more often than computed.
    """
    block, layer = network.topology[index], network.blocks[index]
    width = network.padded_shape[1] // block.stride
    if block.kind == "input":
        precomputed = {f"{layer.name}/precomputed": (1, width, layer.nr_filters)}
        return precomputed if block.stream == "ul" else {}
    if block.kind == "deconv":
        return {f"{layer.name}/output": (layer.strides[0], width, layer.units)}
    shapes = {}
    for conv in convs_of(network, index):
        rows, columns, in_channels, _ = conv.V.shape
        in_width = width * conv.strides[1]
        if block.stream == "ul":
            shapes[f"{conv.name}/precomputed"] = (1, width, conv.units)
            rows -= 1
            if rows == 0:
                continue
        shapes[f"{conv.name}/rows"] = (rows, in_width + columns - 1, in_channels)
    return shapes


def convs_of(network: Network, index: int) -> list[Conv2D]:
    """The convs of block `index` that are neither an input layer's nor a deconv."""
    block, layer = network.topology[index], network.blocks[index]
    if block.kind == "conv":
        return [layer]
    return [layer.conv_1, layer.conv_2] if block.kind == "gated_resnet" else []


@dataclasses.dataclass(frozen=True)
class RowLayout:
    """Where the inputs of the convs of ul at one stride lie in two tensors.

    'row/STRIDE', [1, columns, channels]: those of the finished pixels of the row, of
    all convs side by side, so that a pixel is one write: 74 GPU kernels a pixel instead
    of 118. 'left/STRIDE', [1, margin, channels]: a copy of the pixels to the left,
    because XLA copies a tensor that is read and written in one iteration (-q 2 -n 32
    on a CPU: 16 images in 0.27 s instead of 0.36).
    """

    stride: int
    # Columns of zeros to the left in 'row', all columns of 'left': the largest kernel
    # width − 1.
    margin: int
    channels: dict[str, tuple[int, int]]  # First and number of those of a conv.

    @property
    def row_key(self) -> str:
        return f"row/{self.stride}"

    @property
    def left_key(self) -> str:
        return f"left/{self.stride}"


def row_layouts(network: Network) -> dict[int, RowLayout]:
    """For each stride of inputs: the convs whose kernels span more than a pixel."""
    layouts: dict[int, RowLayout] = {}
    for index, block in enumerate(network.topology):
        stride = block.input_stride
        for conv in convs_of(network, index) if block.stream == "ul" else []:
            rows, columns, in_channels, _ = conv.V.shape
            if (rows, columns) == (1, 1):
                continue
            layout = layouts.get(stride, RowLayout(stride, 0, {}))
            first = sum(count for _, count in layout.channels.values())
            layouts[stride] = RowLayout(
                stride,
                max(layout.margin, columns - 1),
                layout.channels | {conv.name: (first, in_channels)},
            )
    return layouts


def input_parts(layer: ShiftedInput) -> Iterator[tuple]:
    """For each part of an input layer: the conv, the shift of its output (down,
    across), and how far it reads from there (above, left, right)."""
    for conv, shift in zip(layer.convs, layer.shifts, strict=True):
        down, across = SHIFTS[shift]
        top, left, right = conv.margins()
        yield conv, (down, across), (top + down, left + across, right - across)


def image_margins(network: Network) -> Margins:
    """How far the input layers read above, to the left and to the right."""
    inputs = [block for block in network.blocks if isinstance(block, ShiftedInput)]
    reaches = [reach for block in inputs for _, _, reach in input_parts(block)]
    above, left, right = zip(*reaches, strict=True)
    return max(above), max(left), max(right)


def keep_shapes(before: Cache, after: Cache) -> Cache:
    """`after` with the static shapes of `before`, which tf.while_loop requires."""
    return {key: tf.ensure_shape(after[key], before[key].shape) for key in before}
