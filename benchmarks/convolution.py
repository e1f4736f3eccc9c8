"""What speeds are measured against: a plain convolution, and a network's operations."""

import time

import numpy as np
import tensorflow as tf

from pixel_cnn_pp import PixelCNNPP


def seconds(work) -> float:
    start = time.perf_counter()
    np.asarray(work())
    return time.perf_counter() - start


def ceiling() -> float:
    """GFLOP/s of the plain convolution: the best of five."""
    x = tf.random.normal([16, 32, 32, 320])
    kernel = tf.random.normal([2, 3, 320, 160])
    conv = tf.function(lambda: tf.nn.conv2d(x, kernel, 1, "SAME"))
    conv()
    gflop = 2 * 16 * 32 * 32 * (2 * 3 * 320 * 160) / 1e9
    return gflop / min(seconds(conv) for _ in range(5))


def gflop_per_image(model: PixelCNNPP) -> float:
    """Of the forward pass; two operations for each multiply-add."""

    def weights(layer) -> int:
        return sum(int(np.prod(w.shape)) for w in layer.weights if w.name == "V")

    height, width, _ = model.image_shape
    total = weights(model.head) * height * width
    for block, layer in zip(model.topology, model.blocks, strict=True):
        # A deconv multiplies where it reads, every other layer where it writes.
        reads_coarser = block.kind == "deconv"
        stride = block.stride * (layer.strides[0] if reads_coarser else 1)
        total += weights(layer) * height * width // stride**2
    return 2 * total / 1e9
