"""Speed of the official code's training step, beside what a plain convolution reaches.

After `git clone https://github.com/openai/pixel-cnn DIR`,
`python benchmarks/official_step.py --checkout=DIR -q 5 -n 160 -b 8` prints one row, as
train_step.py beside this file does.
"""

import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import cli  # noqa: F401  # Before TensorFlow: it sets its log level.

# isort: split
import numpy as np
import official
import report
import size_flags
import tensorflow as tf
from absl import app, flags

flags.DEFINE_integer("steps", 10, "Steps that are timed; their median counts.")
for module in (official, report, size_flags):
    flags.adopt_module_key_flags(module)
FLAGS = flags.FLAGS


def main(argv):
    from convolution import ceiling, gflop_per_image, seconds

    from pixel_cnn_pp import PixelCNNPP

    size = {"nr_resnet": FLAGS.nr_resnet, "nr_filters": FLAGS.nr_filters}
    before = ceiling()
    n = FLAGS.batch_size
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3))
    images = official.to_float(images)
    with tf.Graph().as_default():
        start = time.perf_counter()
        training = official.Training((32, 32, 3), **size)
        training.initialize(images)

        def step():
            return training.step(images, 0.001)

        seconds(step)
        first = time.perf_counter() - start
        times = [seconds(step) for _ in range(FLAGS.steps)]
        peak = report.peak_gb()
    rate = n / float(np.median(times))
    gflop = 3 * gflop_per_image(PixelCNNPP(**size))  # As train_step.py counts them.
    results = {
        **size,
        "batch_size": n,
        "images_per_s": rate,
        "gflop_per_s": rate * gflop,
        "ceiling_gflop_per_s": max(before, ceiling()),
        "first_step_s": first,
        "peak_gb": peak,
    }
    report.speed(
        results, **{"first step": f"{first:.0f} s", "memory": f"{peak:.1f} GB"}
    )


if __name__ == "__main__":
    app.run(main)
