"""Plots the training curve of a run: its metrics.csv as a picture.

Example:
  python plot.py --save_dir=runs/quickstart --output=curve.pdf
"""

import os

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
from pixel_cnn_pp import files
from pixel_cnn_pp.checks import check_matplotlib
from pixel_cnn_pp.training.metrics import METRICS, read_metrics

FORMATS = (".png", ".pdf", ".svg")
TITLE = "Training curve of PixelCNN"  # In the picture's metadata.

cli.DEFINE_path("save_dir", "Folder of a run of train.py.", "o")
cli.DEFINE_path(
    "output",
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
    lines = read_metrics(path)
    if None in lines:
        number = lines.index(None) + 1
        or_delete = ", or delete the line" if number > 1 else ""
        raise ValueError(
            f"{path}: line {number} is damaged; resume the run (--resume), which "
            f"repairs it{or_delete}."
        )
    of_intervals, of_epochs, test = [], [], []
    for step, _, train_value, test_value, *_ in lines[1:]:
        if train_value:
            train = of_epochs if test_value else of_intervals
            train.append((int(step), float(train_value)))
        if test_value:
            test.append((int(step), float(test_value)))
    if not (of_intervals or of_epochs or test):
        raise ValueError(f"{path}: has no values yet; train longer.")
    _, _, train_column, test_column, *_ = lines[0]
    train = max(of_intervals, of_epochs, key=len)
    return {train_column: train, test_column: test}


def plot_curves(curves: dict[str, list[tuple[int, float]]]):
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
        check_matplotlib()
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
            plot_curves(curves).savefig(
                file, format=kind[1:], dpi=150, metadata={"Title": TITLE}
            )
    print(f"curve: {path}")


if __name__ == "__main__":
    cli.run(main)
