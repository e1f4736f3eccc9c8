"""Speed of a data source: images/s in the order of an epoch, batched.

`python benchmarks/input.py -d shapes` prints images/s of the source; the flags that
name it are those of train.py. `--output_json=FILE` writes the results.
"""

import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import report
from absl import app, flags

import cli  # Before TensorFlow: it sets its log level.
import data

cli.DEFINE_data_set("shapes", "The images.")
flags.DEFINE_string("data_dir", "", "Where they are, as in train.py.", short_name="i")
flags.DEFINE_integer("image_size", None, "Side in pixels, where images are resized.")
flags.DEFINE_integer("batch_size", 16, "Images of a batch.", short_name="b")
flags.DEFINE_integer("num_images", 20_000, "Images that are timed, or all there are.")
flags.adopt_module_key_flags(report)
FLAGS = flags.FLAGS


def main(argv):
    start = time.perf_counter()
    source = data.load(
        FLAGS.data_set, FLAGS.data_dir, "train", image_size=FLAGS.image_size
    )
    examples = source.examples(0, 1).batch(FLAGS.batch_size).prefetch(2)
    batches = iter(examples)
    next(batches)
    first = time.perf_counter() - start
    wanted = min(FLAGS.num_images, source.num_images - FLAGS.batch_size)
    start, count = time.perf_counter(), 0
    while count < wanted:
        count += len(next(batches)["image"])
    rate = count / (time.perf_counter() - start)
    results = {
        "data_set": FLAGS.data_set,
        "image_shape": source.image_shape,
        "num_images": count,
        "images_per_s": rate,
        "first_batch_s": first,
    }
    columns = {
        "data set": FLAGS.data_set,
        "images": str(count),
        "images/s": f"{rate:.0f}",
        "first batch": f"{first:.1f} s",
    }
    report.row(columns)
    report.write(results)


if __name__ == "__main__":
    app.run(main)
