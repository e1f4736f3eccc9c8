"""Steps of the incremental pass: the blocks of u on a row, those of ul on a pixel."""

import abc
from collections.abc import Iterator

import tensorflow as tf
from keras import ops

from pixel_cnn_pp import nn
from pixel_cnn_pp.blocks import ShiftedInput
from pixel_cnn_pp.nonlinearities import pad

Cache = dict[str, tf.Tensor]
# How far a shift moves the output of a first layer: rows, columns.
MOVES = {nn.down_shift: (1, 0), nn.right_shift: (0, 1)}


class _Step(abc.ABC):
    """One visit of the topology on a place: what a row and a pixel have in common."""

    def __init__(self, whole, i: tf.Tensor):
        """`whole`: the IncrementalPass; i: the row."""
        self.whole = whole
        self.topology = whole.topology
        self.blocks = whole.model.blocks
        self.folded = whole.folded
        self.i = i

    @abc.abstractmethod
    def span(self, stride: int) -> tuple[int | tf.Tensor, int]:
        """First column of the place, and their number, in a map at `stride`."""

    @abc.abstractmethod
    def is_due(self, pace: int) -> tf.Tensor:
        """Whether blocks at this pace run here."""

    @abc.abstractmethod
    def note(self, index: int, conv: nn.Conv2D, x, cache: Cache) -> None:
        """Keeps x, the input of a conv of block `index`."""

    @abc.abstractmethod
    def visit(self, index: int, maps: dict, cache: Cache) -> tf.Tensor | None:
        """Runs block `index` here; returns its map, None where it has none yet."""

    def walk(self, tree: list, cache: Cache) -> dict[int, tf.Tensor | None]:
        """Visits the blocks in order; returns their maps. Changes the cache.

        Slower blocks are in a loop of one turn or none: unlike the branch of a
        conditional, the body of a loop writes into the cache in place.
        """
        maps: dict[int, tf.Tensor | None] = {}
        for item in tree:
            if isinstance(item, int):
                maps[item] = self.visit(item, maps, cache)
                continue
            pace, slower = item
            indices = list(_flatten(slower))
            for index in indices:
                block = self.topology[index]
                if block.kind == "conv" and block.x in maps:
                    self.note(index, self.blocks[index], maps[block.x], cache)

            def turn(count, kept, slower=slower):
                after = dict(kept)
                self.walk(slower, after)
                return count + 1, keep_shapes(kept, after)

            keys = [key for index in indices for key in self.whole.kept_shapes(index)]
            turns = tf.cast(self.is_due(pace), tf.int32)
            _, kept = tf.while_loop(
                lambda count, _, turns=turns: count < turns,
                turn,
                (tf.constant(0), {key: cache[key] for key in keys}),
            )
            cache |= kept
        return maps

    def operand(self, indices, maps: dict, cache: Cache) -> tf.Tensor:
        """Maps of one or more blocks, here, side by side."""
        found = [
            self.read_map(index, cache)
            if self.topology[index].kind == "deconv"
            else maps[index]
            for index in indices
        ]
        return found[0] if len(found) == 1 else ops.concatenate(found, axis=-1)

    def shortcuts(self, index: int, stream: str) -> list[int]:
        """The short-cut inputs of block `index` that lie in one stream."""
        return [a for a in self.topology[index].a if self.topology[a].stream == stream]

    def read(self, kept: tf.Tensor, row, stride: int) -> tf.Tensor:
        """The place, in one row of a map that is kept."""
        column, count = self.span(stride)
        size = [self.whole.n, 1, count, kept.shape[-1]]
        return tf.slice(kept, [0, row, column, 0], size)

    def read_map(self, index: int, cache: Cache) -> tf.Tensor:
        """The place in the map of a deconv, which was run where it was due."""
        block, layer = self.topology[index], self.blocks[index]
        row = self.i // block.stride % layer.strides[0]
        return self.read(cache[f"{layer.name}/map"], row, block.stride)

    def run_input(self, layer: ShiftedInput, cache: Cache) -> tf.Tensor:
        """A first layer on the image."""
        top, left, _ = self.whole.margins
        column, count = self.span(1)
        total = 0.0
        for conv, (down, across), (above, before, _) in parts(layer):
            rows, columns = conv.filter_size
            window = tf.slice(
                cache["image"],
                [0, self.i + top - above, column + left - before, 0],
                [self.whole.n, rows, count + columns - 1, conv.V.shape[2]],
            )
            # The shift moved the output: its first row and column hold zeros.
            inside = (column + tf.range(count) >= across) & (self.i >= down)
            inside = tf.cast(tf.reshape(inside, [1, 1, count, 1]), tf.float32)
            total += self.whole.run_plain(conv, window) * inside
        return total


class RowStep(_Step):
    """Runs u on a row; sums what ul will get from it and from the rows above."""

    def span(self, stride):
        return 0, self.whole.model.map_shape[1] // stride

    def is_due(self, pace):
        return self.i % pace == 0

    def note(self, index, conv, x, cache):
        """The rows move up; u's new one is known, pixels will fill in that of ul."""
        key = f"{conv.name}/rows"
        new = tf.zeros_like(cache[key][:, :1])
        if self.topology[index].stream == "u":
            _, left, right = conv.margins()
            new = tf.pad(x, [[0, 0], [0, 0], [left, right], [0, 0]])
        cache[key] = ops.concatenate([cache[key][:, 1:], new], axis=1)

    def visit(self, index, maps, cache):
        block, layer = self.topology[index], self.blocks[index]
        if block.stream == "ul":
            self.prepare(index, maps, cache)
            return None
        if block.kind == "input":
            return self.run_input(layer, cache)
        if block.kind == "conv":
            return self.whole.run_plain(layer, cache[f"{layer.name}/rows"])
        x = self.operand([block.x], maps, cache)
        if block.kind == "deconv":
            cache[f"{layer.name}/map"] = layer.crop(self.whole.run_plain(layer, x))
            return None

        def run(part, x, before=pad):
            if isinstance(part, nn.ConditionalWeights):
                return self.whole.conditions[part.name]
            x = before(x)
            if isinstance(part, nn.Conv2D):
                self.note(index, part, x, cache)
                x = cache[f"{part.name}/rows"]
            return self.whole.run_plain(part, x)

        a = self.operand(block.a, maps, cache) if block.a else None
        return layer.forward(run, x, a)

    def prepare(self, index: int, maps: dict, cache: Cache) -> None:
        """Sums what a block of ul gets from u and from the rows above."""
        block, layer = self.topology[index], self.blocks[index]
        if block.kind == "conv":
            self.know(layer, cache[f"{layer.name}/rows"][:, :-1], cache)
        if block.kind == "gated_resnet":
            for conv in (layer.conv_1, layer.conv_2):
                self.note(index, conv, None, cache)
                self.know(conv, cache[f"{conv.name}/rows"][:, :-1], cache)
            a = self.operand(self.shortcuts(index, "u"), maps, cache)
            self.know(layer.nin, layer.activate(a), cache)

    def know(self, layer: nn.WeightNorm, x: tf.Tensor, cache: Cache) -> None:
        key, known = f"{layer.name}/known", self.folded[f"{layer.name}/b"]
        if x.shape[1]:  # A kernel of one row sees none above.
            known = known + layer.linear(x, self.whole.kernel(layer, "row"))
        cache[key] = tf.broadcast_to(known, tf.shape(cache[key]))


class PixelStep(_Step):
    """Runs ul on a pixel."""

    def __init__(self, whole, i, j: tf.Tensor):
        """j: the column."""
        super().__init__(whole, i)
        self.j = j

    def span(self, stride):
        return self.j // stride, 1

    def is_due(self, pace):
        return (self.i % pace == 0) & (self.j % pace == 0)

    def note(self, index, conv, x, cache):
        """Puts the pixel into the last row."""
        if self.topology[index].stream == "ul":
            key, (rows, _) = f"{conv.name}/rows", conv.filter_size
            _, left, _ = conv.margins()
            column = self.j // self.whole.stride_before(index) + left
            cache[key] = ops.slice_update(cache[key], [0, rows - 1, column, 0], x)

    def visit(self, index, maps, cache):
        block, layer = self.topology[index], self.blocks[index]
        if block.stream == "u":
            return None
        if block.kind == "input":
            return self.run_input(layer, cache)
        if block.kind == "conv":
            return self.run_conv(index, layer, cache)
        x = self.operand([block.x], maps, cache)
        if block.kind == "deconv":
            key, column = f"{layer.name}/map", self.j // block.stride
            y = self.run_deconv(layer, x)
            cache[key] = ops.slice_update(cache[key], [0, 0, column, 0], y)
            return None
        of_ul = self.shortcuts(index, "ul")

        def run(part, x, before=pad):
            if isinstance(part, nn.ConditionalWeights):
                return self.whole.conditions[part.name]
            x = before(x)
            if isinstance(part, nn.Conv2D):
                self.note(index, part, x, cache)
                return self.run_conv(index, part, cache)
            known = self.read(cache[f"{part.name}/known"], 0, block.stride)
            if not of_ul:
                return known
            return known + part.linear(x, self.whole.kernel(part, "pixel"))

        a = self.operand(of_ul, maps, cache) if of_ul else x[..., :0]
        return layer.forward(run, x, a)

    def run_conv(self, index: int, conv: nn.Conv2D, cache: Cache) -> tf.Tensor:
        """A conv of block `index`: what is known of it, and its kernel's last row."""
        rows, columns, in_channels, _ = conv.V.shape
        n, stride = self.whole.n, self.topology[index].stride
        column = self.j // stride * conv.strides[1]
        size = [n, 1, columns, in_channels]
        window = tf.slice(cache[f"{conv.name}/rows"], [0, rows - 1, column, 0], size)
        window = tf.reshape(window, [n, columns * in_channels])
        y = tf.matmul(window, self.whole.kernel(conv, "pixel"))
        return self.read(cache[f"{conv.name}/known"], 0, stride) + y[:, None, None]

    def run_deconv(self, deconv: nn.Deconv2D, x: tf.Tensor) -> tf.Tensor:
        """A deconv whose kernel is its stride: [N, 1, 1, F] to [N, *strides, F]."""
        assert deconv.filter_size == deconv.strides
        kernel = self.whole.kernel(deconv)  # [rows, columns, units, in]
        flat = tf.reshape(kernel, [-1, kernel.shape[-1]])
        y = tf.matmul(x[:, 0, 0], flat, transpose_b=True)
        y = tf.reshape(y, [self.whole.n, *kernel.shape[:3]])
        return y + self.folded[f"{deconv.name}/b"]


def parts(layer: ShiftedInput) -> Iterator[tuple]:
    """Of each part of a first layer: the conv, how far its output is moved (rows,
    columns), and how far it reads from there (above, to the left, to the right)."""
    for conv, shift in zip(layer.convs, layer.shifts, strict=True):
        down, across = MOVES[shift]
        top, left, right = conv.margins()
        yield conv, (down, across), (top + down, left + across, right - across)


def keep_shapes(before: Cache, after: Cache) -> Cache:
    """`after` with the static shapes of `before`, on which loops insist."""
    return {key: tf.ensure_shape(after[key], before[key].shape) for key in before}


def _flatten(tree: list) -> Iterator[int]:
    for item in tree:
        if isinstance(item, int):
            yield item
        else:
            yield from _flatten(item[1])
