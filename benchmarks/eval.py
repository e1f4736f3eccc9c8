"""Speed of log_prob, beside what a plain convolution reaches here.

`python benchmarks/eval.py -q 5 -n 160 -b 8` prints one row; `--output_json=FILE` writes
its figures. The ceiling is that of train_step.py beside this file.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import quiet

quiet.import_tensorflow()  # Before anything below imports it.

import numpy as np
from absl import app, flags
from convolution import ceiling, gflop_per_image, seconds

from pixel_cnn_pp import PixelCNNPP
from pixel_cnn_pp.nn import PRECISIONS

flags.DEFINE_integer("nr_resnet", 5, "Residual blocks per stage.", short_name="q")
flags.DEFINE_integer("nr_filters", 160, "Filters of every layer.", short_name="n")
flags.DEFINE_integer("batch_size", 8, "Images at a time.", short_name="b")
flags.DEFINE_enum("precision", "float32", list(PRECISIONS), "As in evaluate.py.")
flags.DEFINE_integer("calls", 10, "Calls that are timed; their median counts.")
flags.DEFINE_string("output_json", None, "Write the figures to this file.")
FLAGS = flags.FLAGS


def main(argv):
    before = ceiling()
    n = FLAGS.batch_size
    model = PixelCNNPP(nr_resnet=FLAGS.nr_resnet, nr_filters=FLAGS.nr_filters)
    model.set_precision(FLAGS.precision)
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)
    first = seconds(lambda: model.log_prob(images))
    times = [seconds(lambda: model.log_prob(images)) for _ in range(FLAGS.calls)]
    rate = n / float(np.median(times))
    found = {
        "nr_resnet": FLAGS.nr_resnet,
        "nr_filters": FLAGS.nr_filters,
        "batch_size": n,
        "precision": FLAGS.precision,
        "images_per_s": rate,
        "gflop_per_s": rate * gflop_per_image(model),
        "ceiling_gflop_per_s": max(before, ceiling()),
        "first_call_s": first,
    }
    found["share_of_ceiling"] = found["gflop_per_s"] / found["ceiling_gflop_per_s"]
    print("| size | batch | images/s | GFLOP/s | ceiling | share | first call |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {FLAGS.nr_resnet}, {FLAGS.nr_filters} | {n} | {rate:.2f} "
        f"| {found['gflop_per_s']:.0f} | {found['ceiling_gflop_per_s']:.0f} "
        f"| {found['share_of_ceiling']:.0%} | {first:.0f} s |"
    )
    if FLAGS.output_json:
        pathlib.Path(FLAGS.output_json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
