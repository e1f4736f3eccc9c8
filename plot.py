"""Plots the training curve of a run: its metrics.csv as a picture.

Example:
  python plot.py --save_dir=runs/quickstart --output=curve.pdf
"""

import importlib.util
import math
import os

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
from pixel_cnn_pp import files
from pixel_cnn_pp.training.metrics import HEADER, METRICS

FORMATS = (".png", ".pdf", ".svg")
TITLE = "Training curve of PixelCNN"  # In the picture's metadata.
REMEDY = "resume the run (--resume), which repairs it"

cli.DEFINE_path("save_dir", None, "Folder of a run of train.py.", short_name="o")
cli.DEFINE_path(
    "output",
    None,
    "Picture to write, .png, .pdf or .svg; by default curve.png in --save_dir.",
)
FLAGS = flags.FLAGS


def read_curves(save_dir: str) -> dict[str, list[tuple[int, float]]]:
    """(step, value) in order, by column of metrics.csv: train_… and test_… or
    validation_….

    A row with a test value has the mean of a whole epoch as its training value. Those
    of epochs or those of intervals are taken, whichever are more. Raises ValueError
    where there are no values.
    """
    path = os.path.join(save_dir, METRICS)
    if not os.path.isfile(path):
        raise ValueError(
            f"--save_dir={save_dir}: has no {METRICS}; give the folder of a run of "
            "train.py."
        )
    of_intervals, of_epochs, test = [], [], []
    with open(path, newline="", errors="replace") as file:
        header = next(file, "").rstrip()
        if header and not HEADER.fullmatch(header):
            raise ValueError(f"{path}: line 1 is damaged; {REMEDY}.")
        columns = header.split(",")
        for number, line in enumerate(file, 2):
            try:
                step, _, train_value, test_value, *_ = line.rstrip().split(",")
                if not step.isdecimal() or len(step) > 19:
                    raise ValueError(f"{step} is no step")
                step = int(step)
                if train_value:
                    train = of_epochs if test_value else of_intervals
                    train.append((step, _number(train_value)))
                if test_value:
                    test.append((step, _number(test_value)))
            except ValueError as error:
                raise ValueError(
                    f"{path}: line {number} is damaged; {REMEDY}, or delete the line."
                ) from error
    if not (of_intervals or of_epochs or test):
        raise ValueError(f"{path}: has no values yet; train longer.")
    return {columns[2]: max(of_intervals, of_epochs, key=len), columns[3]: test}


def _number(text: str) -> float:
    """ValueError for what train.py does not write, such as 1_0, or cannot be shown."""
    value = float(text)
    if "_" in text or 1e30 < abs(value) < math.inf:
        raise ValueError(f"{text} is no metric")
    return value


def make_figure(curves: dict[str, list[tuple[int, float]]]):
    """A matplotlib figure of curves over steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (column, points), style in zip(curves.items(), ("-", "o-"), strict=True):
        split, _, unit = column.partition("_")
        if points:
            # train.py scores test and validation images with the EMA parameters.
            label = split if split == "train" else f"{split} (EMA parameters)"
            axes.plot(*zip(*points, strict=True), style, markersize=4, label=label)
    unit = {"bits_per_dim": "bits/dim"}.get(unit, "energy distance per pixel")
    axes.set(xlabel="step", ylabel=unit)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main(argv):
    with cli.errors_in_one_line():
        if not FLAGS.save_dir:
            raise ValueError("--save_dir: give the folder of a run of train.py.")
        if importlib.util.find_spec("matplotlib") is None:
            raise ValueError("matplotlib is not installed; pip install -e '.[plots]'.")
        curves = read_curves(FLAGS.save_dir)
        path = FLAGS.output
        if path is None:
            path = os.path.join(FLAGS.save_dir, "curve.png")
        kind = os.path.splitext(path)[1]
        if kind not in FORMATS:
            raise ValueError(
                f"--output={path}: must be a name that ends in {', '.join(FORMATS)}."
            )
        files.check_file_writable("output", path)
        if FLAGS.output is not None:
            files.check_holds(f"--output={path}", path, TITLE.encode(), "curve")
        with files.open_atomic(path, "wb") as file:
            make_figure(curves).savefig(
                file, format=kind[1:], dpi=150, metadata={"Title": TITLE}
            )
    print(f"curve: {path}")


if __name__ == "__main__":
    cli.run(main)
