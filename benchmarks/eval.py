"""Speed of log_prob, beside what plain work reaches here.

`python benchmarks/eval.py -q 5 -n 160 -b 8` prints one row; `--output_json=FILE` writes
its results. The ceiling is that of train_step.py beside this file.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import cli  # Before TensorFlow: it sets its log level.

# isort: split
import numpy as np
import report
import size_flags
from absl import app, flags
from convolution import ceiling, gflop_per_image, seconds

from pixel_cnn_pp import PixelCNNPP
from pixel_cnn_pp.config import PRECISIONS

flags.DEFINE_enum("precision", "float32", PRECISIONS, "As in evaluate.py.")
flags.DEFINE_bool(
    "fuse", True, "As evaluate.py scores; --nofuse: as log_prob does by itself."
)
flags.DEFINE_integer("calls", 10, "Calls that are timed; their median counts.")
cli.define_tf32(False)
flags.adopt_module_key_flags(report)
flags.adopt_module_key_flags(size_flags)
FLAGS = flags.FLAGS


def main(argv):
    cli.set_devices(None, FLAGS.tf32)
    before = ceiling(FLAGS.precision)
    n = FLAGS.batch_size
    model = PixelCNNPP(nr_resnet=FLAGS.nr_resnet, nr_filters=FLAGS.nr_filters)
    model.set_precision(FLAGS.precision)
    model.set_jit_compile(FLAGS.fuse)
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)
    first = seconds(lambda: model.log_prob(images))
    times = [seconds(lambda: model.log_prob(images)) for _ in range(FLAGS.calls)]
    rate = n / float(np.median(times))
    results = {
        "nr_resnet": FLAGS.nr_resnet,
        "nr_filters": FLAGS.nr_filters,
        "batch_size": n,
        "precision": FLAGS.precision,
        "fuse": FLAGS.fuse,
        "images_per_s": rate,
        "gflop_per_s": rate * gflop_per_image(model),
        "ceiling_gflop_per_s": max(before, ceiling(FLAGS.precision)),
        "first_call_s": first,
    }
    report.speed(results, **{"first call": f"{first:.0f} s"})


if __name__ == "__main__":
    app.run(main)
