"""The incremental pass: stream u row by row, stream ul pixel by pixel.

It runs the blocks of the network's topology and computes each activation once. A
shifted convolution is padding and a VALID kernel on a window, so for each conv the
cache holds only the rows of its input that the kernel spans. The part of ul that
depends on the rows above and on stream u is precomputed for a whole row, before the
row's first pixel; the rest of a pixel's conv is one matrix product. Blocks of the
coarser stages run only where their stride divides row and column.
"""

import tensorflow as tf
from keras import ops

from pixel_cnn_pp.sampling.cache import Cache, empty_cache, image_margins, keep_shapes
from pixel_cnn_pp.sampling.kernels import FoldedNetwork
from pixel_cnn_pp.sampling.steps import PixelStep, RowStep, nest


class IncrementalPass:
    """A FoldedNetwork along the raster order of its images.

    Its methods are called inside a compiled function: `start`, then for each row
    `begin_row`, then for each pixel of the row `features` and `set_pixel`. The state is
    a Cache, which they take and return. Feature maps are [N, rows, columns, channels].
    """

    def __init__(self, folded: FoldedNetwork):
        self.folded = folded
        self.network = folded.network
        self.margins = image_margins(self.network)
        topology = self.network.topology
        self.tree = nest(topology, range(len(topology)), 1)

    def start(self) -> Cache:
        return empty_cache(self.network, self.folded.n)

    def begin_row(self, cache: Cache, i: tf.Tensor) -> Cache:
        """Runs u on row i; precomputes what ul gets from it and from the rows above."""
        after = dict(cache)
        RowStep(self.folded, i).run(self.tree, after)
        return keep_shapes(cache, after)

    def features(
        self, cache: Cache, i: tf.Tensor, j: tf.Tensor
    ) -> tuple[tf.Tensor, Cache]:
        """The input of the head for pixel (i, j): ul [N, 1, 1, F]."""
        after = dict(cache)
        outputs = PixelStep(self.folded, i, j).run(self.tree, after)
        return outputs[len(self.network.topology) - 1], keep_shapes(cache, after)

    def set_pixel(self, cache: Cache, i, j, pixel: tf.Tensor) -> Cache:
        """Sets pixel (i, j), [N, 1, 1, C] in [-1, 1], of the image."""
        top, left, _ = self.margins
        start = [0, i + top, j + left, 0]
        return cache | {"image": ops.slice_update(cache["image"], start, pixel)}

    def image(self, cache: Cache) -> tf.Tensor:
        """The pixels set so far, [N, H, W, C] in [-1, 1], and zeros."""
        _, width, channels = self.network.image_shape
        top, left, _ = self.margins
        return cache["image"][:, top:, left : left + width, :channels]
