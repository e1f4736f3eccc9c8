"""Draws the training curve of a run: its metrics.csv as a picture."""

import os

from absl import flags

import quiet

quiet.import_tensorflow()  # Before anything below imports it.

from pixel_cnn_pp import curve, score_files
from pixel_cnn_pp.command_line import errors_in_one_line, refuse_arguments, run

flags.DEFINE_string("save_dir", None, "Folder of a run of train.py.", short_name="o")
flags.DEFINE_string(
    "output",
    None,
    "Picture to write, .png, .pdf or .svg; by default curve.png in --save_dir.",
)
FLAGS = flags.FLAGS


def main(argv):
    with errors_in_one_line():
        refuse_arguments(argv)
        if not FLAGS.save_dir:
            raise ValueError("--save_dir: give the folder of a run of train.py.")
        curve.refuse_without_matplotlib()
        curves = curve.read_curves(FLAGS.save_dir)
        path = FLAGS.output
        if path is None:
            path = os.path.join(FLAGS.save_dir, "curve.png")
        curve.refuse_format(path)
        score_files.refuse_unwritable("output", path)
        curve.draw(curves, path)
    print(f"curve: {path}")


if __name__ == "__main__":
    run(main)
