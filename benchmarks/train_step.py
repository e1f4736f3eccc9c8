"""Speed of the training step, beside what a plain convolution reaches here.

`python benchmarks/train_step.py -q 5 -n 160 -b 8` prints one row; `--output_json=FILE`
writes its figures. The ceiling is a float32 conv2d 2×3, 320 → 160 channels, on
[16, 32, 32], timed in the same process before and after the steps.
"""

import json
import pathlib
import resource
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import quiet

quiet.import_tensorflow()  # Before anything below imports it.

import numpy as np
import tensorflow as tf
from absl import app, flags

from pixel_cnn_pp import PixelCNNPP, train_step
from pixel_cnn_pp.config import Config

flags.DEFINE_integer("nr_resnet", 5, "Residual blocks per stage.", short_name="q")
flags.DEFINE_integer("nr_filters", 160, "Filters of every layer.", short_name="n")
flags.DEFINE_integer("batch_size", 8, "Images per step.", short_name="b")
flags.DEFINE_float("dropout_p", 0.5, "Share that is dropped.", short_name="p")
flags.DEFINE_integer("steps", 10, "Steps that are timed; their median counts.")
flags.DEFINE_string("output_json", None, "Write the figures to this file.")
FLAGS = flags.FLAGS


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
    """Two operations for each multiply-add, three times those of the forward pass."""

    def weights(layer) -> int:
        return sum(int(np.prod(w.shape)) for w in layer.weights if w.name == "V")

    height, width, _ = model.image_shape
    total = weights(model.head) * height * width
    for block, layer in zip(model.topology, model.blocks, strict=True):
        # A deconv multiplies where it reads, every other layer where it writes.
        reads_coarser = block.kind == "deconv"
        stride = block.stride * (layer.strides[0] if reads_coarser else 1)
        total += weights(layer) * height * width // stride**2
    return 3 * 2 * total / 1e9


def main(argv):
    before = ceiling()
    config = Config(
        nr_resnet=FLAGS.nr_resnet,
        nr_filters=FLAGS.nr_filters,
        batch_size=FLAGS.batch_size,
        dropout_p=FLAGS.dropout_p,
        nr_gpu=1,
    )
    n = config.batch_size
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)
    start = time.perf_counter()
    state = train_step.TrainState(config)
    step = train_step.make_train_step(state, config)
    batch = {"image": tf.constant(images)}
    seconds(lambda: step(batch))
    first = time.perf_counter() - start
    times = [seconds(lambda: step(batch)) for _ in range(FLAGS.steps)]
    rate = n / float(np.median(times))
    gflop = gflop_per_image(state.model)
    found = {
        "nr_resnet": config.nr_resnet,
        "nr_filters": config.nr_filters,
        "batch_size": n,
        "images_per_s": rate,
        "gflop_per_image": gflop,
        "gflop_per_s": rate * gflop,
        "ceiling_gflop_per_s": max(before, ceiling()),
        "first_step_s": first,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    found["share_of_ceiling"] = found["gflop_per_s"] / found["ceiling_gflop_per_s"]
    print(
        "| size | batch | images/s | GFLOP/s | ceiling | share | first step | memory |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {config.nr_resnet}, {config.nr_filters} | {n} | {rate:.2f} "
        f"| {found['gflop_per_s']:.0f} | {found['ceiling_gflop_per_s']:.0f} "
        f"| {found['share_of_ceiling']:.0%} | {first:.0f} s "
        f"| {found['peak_gb']:.1f} GB |"
    )
    if FLAGS.output_json:
        pathlib.Path(FLAGS.output_json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
