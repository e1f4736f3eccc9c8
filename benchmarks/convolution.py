"""What speeds are measured against: plain work, and a network's operations."""

import time

import numpy as np
import tensorflow as tf

from pixel_cnn_pp import PixelCNNPP


def seconds(work, times: int = 1) -> float:
    """Of one call of `work`, the mean of several; waits for the last one's result."""
    start = time.perf_counter()
    for _ in range(times):
        result = work()
    np.asarray(result)
    return (time.perf_counter() - start) / times


def ceiling(precision: str = "float32") -> float:
    """GFLOP/s of plain work, the best of five: the convolution in float32 on a CPU, a
    product of two matrices on a GPU, whose type is that of the precision."""
    if tf.config.list_logical_devices("GPU"):
        size, times = 8192, 20
        dtype = "bfloat16" if precision == "mixed_bfloat16" else "float32"
        a, b = tf.cast(tf.random.normal([2, size, size]), dtype)
        work = tf.function(lambda: tf.cast(tf.matmul(a, b)[0, 0], tf.float32))
        gflop = 2 * size**3 / 1e9
    else:
        x, times = tf.random.normal([16, 32, 32, 320]), 1
        kernel = tf.random.normal([2, 3, 320, 160])
        work = tf.function(lambda: tf.nn.conv2d(x, kernel, 1, "SAME"))
        gflop = 2 * 16 * 32 * 32 * (2 * 3 * 320 * 160) / 1e9
    work()
    return gflop / min(seconds(work, times) for _ in range(5))


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
