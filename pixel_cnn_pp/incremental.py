"""The incremental pass: stream u row by row, stream ul pixel by pixel.

It runs the blocks that `model.topology` declares and computes each activation once.
Every shifted convolution is "pad, then a VALID kernel on a window", so a conv keeps
just the rows of its input that its kernel spans. What a pixel of ul gets from the rows
above and from stream u is summed for a whole row before the row's first pixel. Blocks
of the coarser stages run only where their stride divides row and column.
"""

import tensorflow as tf
from keras import ops

from pixel_cnn_pp import nn
from pixel_cnn_pp.blocks import ShiftedInput
from pixel_cnn_pp.folded import Folded
from pixel_cnn_pp.incremental_steps import Cache, PixelStep, RowStep, keep_shapes, parts
from pixel_cnn_pp.nonlinearities import pad


class IncrementalPass:
    """The network of a PixelCNNPP along the raster order of n images.

    Its methods are called inside a compiled function: `start`, then for each row
    `begin_row`, then for each pixel of the row `features` and `set_pixel`. All that is
    known lies in a Cache, which they take and return. Maps are [N, rows, columns,
    channels].
    """

    def __init__(self, model, folded: Folded, conditions: Folded, n: tf.Tensor):
        """`folded`, `conditions`: what `folded.fold` and `folded.condition` return."""
        self.model = model
        self.topology = model.topology
        self.folded = folded
        self.conditions = conditions
        self.n = n
        self.tree = self._nest(range(len(self.topology)), 1)
        # How far the first layers read above, to the left and to the right.
        first = [block for block in model.blocks if isinstance(block, ShiftedInput)]
        reaches = [reach for block in first for _, _, reach in parts(block)]
        self.margins = [max(reach) for reach in zip(*reaches, strict=True)]

    def start(self) -> Cache:
        """Nothing known: an empty image, and zeros wherever something will be kept."""
        height, width, channels = self.model.image_shape
        top, left, right = self.margins
        right += self.model.map_shape[1] - width
        image = tf.zeros([self.n, height, width, channels])
        image = tf.concat([image, tf.ones_like(image[..., :1])], axis=-1)
        image = tf.pad(image, [[0, 0], [top, 0], [left, right], [0, 0]])
        kept = {}
        for index in range(len(self.topology)):
            kept |= self.kept_shapes(index)
        zeros = {key: tf.zeros([self.n, *shape]) for key, shape in kept.items()}
        return {"image": image} | zeros

    def begin_row(self, cache: Cache, i: tf.Tensor) -> Cache:
        """Runs u on row i and sums what ul will get from it and from the rows above."""
        after = dict(cache)
        RowStep(self, i).walk(self.tree, after)
        return keep_shapes(cache, after)

    def features(
        self, cache: Cache, i: tf.Tensor, j: tf.Tensor
    ) -> tuple[tf.Tensor, Cache]:
        """What the output layer reads for pixel (i, j): ul [N, 1, 1, F]."""
        after = dict(cache)
        maps = PixelStep(self, i, j).walk(self.tree, after)
        return maps[len(self.topology) - 1], keep_shapes(cache, after)

    def set_pixel(self, cache: Cache, i, j, pixel: tf.Tensor) -> Cache:
        """Makes pixel (i, j), [N, 1, 1, C] in [-1, 1], known."""
        top, left, _ = self.margins
        place = [0, i + top, j + left, 0]
        return cache | {"image": ops.slice_update(cache["image"], place, pixel)}

    def image(self, cache: Cache) -> tf.Tensor:
        """The pixels that are known, [N, H, W, C] in [-1, 1], zeros where none is."""
        _, width, channels = self.model.image_shape
        top, left, _ = self.margins
        return cache["image"][:, top:, left : left + width, :channels]

    def run_plain(
        self, layer: nn.WeightNorm, x: tf.Tensor, before: nn.Before = pad
    ) -> tf.Tensor:
        """A layer with its plain kernel; the `run` of the output layers."""
        y = layer.linear(before(x), self.kernel(layer))
        return y + self.folded[f"{layer.name}/b"]

    def kernel(self, layer: nn.WeightNorm, part: str = "kernel") -> tf.Tensor:
        """A folded kernel, or its 'row' or 'pixel' part, in float32."""
        return tf.cast(self.folded[f"{layer.name}/{part}"], tf.float32)

    def kept_shapes(self, index: int) -> dict[str, tuple[int, int, int]]:
        """Keys and shapes [rows, columns, channels] of what block `index` keeps.

        'NAME/rows': the input of a conv, as many rows as its kernel has; 'NAME/known':
        what is known of its output before the row's first pixel; 'NAME/map': the output
        of a deconv, which is read oftener than it is made.
        """
        block, layer = self.topology[index], self.model.blocks[index]
        width = self.model.map_shape[1] // block.stride
        if block.kind == "input":
            return {}
        if block.kind == "deconv":
            return {f"{layer.name}/map": (layer.strides[0], width, layer.units)}
        kept = {}
        for conv in [layer] if block.kind == "conv" else [layer.conv_1, layer.conv_2]:
            rows, columns, in_channels, _ = conv.V.shape
            in_width = width * conv.strides[1]
            kept[f"{conv.name}/rows"] = (rows, in_width + columns - 1, in_channels)
            if block.stream == "ul":
                kept[f"{conv.name}/known"] = (1, width, conv.units)
        if block.kind == "gated_resnet" and block.stream == "ul":
            kept[f"{layer.nin.name}/known"] = (1, width, layer.nin.units)
        return kept

    def stride_before(self, index: int) -> int:
        """Stride of the map that block `index` reads."""
        block = self.topology[index]
        return block.stride if block.x < 0 else self.topology[block.x].stride

    def _pace(self, index: int) -> int:
        """Rows and columns from one run of a block to the next: one that changes the
        stage runs at the pace of the coarser one."""
        return max(self.topology[index].stride, self.stride_before(index))

    def _nest(self, indices, pace: int) -> list:
        """The blocks as a tree: an int is a block that runs at this pace, a pair (pace,
        tree) a stretch of blocks that run at a slower one."""
        tree, slower = [], []
        for index in [*indices, None]:
            at_pace = index is None or self._pace(index) == pace
            if at_pace and slower:
                next_pace = min(map(self._pace, slower))
                tree.append((next_pace, self._nest(slower, next_pace)))
                slower = []
            if index is not None:
                (tree if at_pace else slower).append(index)
        return tree
