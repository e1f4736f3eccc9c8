"""Draws the training curve of a run: its metrics.csv as a picture."""

import os

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
from pixel_cnn_pp import curve, files

flags.DEFINE_string("save_dir", None, "Folder of a run of train.py.", short_name="o")
flags.DEFINE_string(
    "output",
    None,
    "Picture to write, .png, .pdf or .svg; by default curve.png in --save_dir.",
)
FLAGS = flags.FLAGS


def main(argv):
    with cli.errors_in_one_line():
        cli.check_no_arguments(argv)
        if not FLAGS.save_dir:
            raise ValueError("--save_dir: give the folder of a run of train.py.")
        curve.refuse_without_matplotlib()
        curves = curve.read_curves(FLAGS.save_dir)
        path = FLAGS.output
        if path is None:
            path = os.path.join(FLAGS.save_dir, "curve.png")
        curve.refuse_format(path)
        files.check_file_writable("output", path)
        curve.draw(curves, path)
    print(f"curve: {path}")


if __name__ == "__main__":
    cli.run(main)
