"""Training curve: the figures of metrics.csv, and a picture of them."""

import csv
import importlib.util
import os

from pixel_cnn_pp.files import open_atomic
from pixel_cnn_pp.training.metrics import METRICS

FORMATS = (".png", ".pdf", ".svg")


def refuse_without_matplotlib() -> None:
    """Raises ValueError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError(
            "matplotlib is not installed, and curves are drawn with it; "
            "pip install -e '.[plots]'."
        )


def refuse_format(path: str) -> None:
    """Raises ValueError where the name of a picture does not say its format."""
    if os.path.splitext(path)[1] not in FORMATS:
        raise ValueError(
            f"--output={path}: must be a name that ends in {', '.join(FORMATS)}."
        )


def number(text: str) -> float | None:
    """A figure; None where it was not measured."""
    return float(text) if text else None


def read_curves(save_dir: str) -> dict[str, list[tuple[int, float]]]:
    """(step, figure) in order, by column of metrics.csv: train_… and test_….

    The training figure of a row with a test figure is the mean of a whole epoch, so it
    is left out, but where there are no others. Raises ValueError where there are no
    figures at all.
    """
    path = os.path.join(save_dir, METRICS)
    if not os.path.isfile(path):
        raise ValueError(
            f"--save_dir={save_dir}: has no {METRICS}; give the folder of a run of "
            "train.py."
        )
    of_intervals, all_train, tests = [], [], []
    with open(path, newline="", errors="replace") as file:
        rows = csv.reader(file)
        columns = next(rows, [])
        for row in rows:
            try:
                step, _, train, test, *_ = row
                step, train, test = int(step), number(train), number(test)
            except ValueError as error:
                raise ValueError(
                    f"{path}: line {rows.line_num} is none that train.py wrote; go on "
                    "with the run (--load_params), which mends it, or take it out."
                ) from error
            if train is not None:
                all_train.append((step, train))
                of_intervals += all_train[-1:] if test is None else []
            if test is not None:
                tests.append((step, test))
    if not (all_train or tests):
        raise ValueError(f"{path}: has no figures yet; train longer.")
    return {columns[2]: of_intervals or all_train, columns[3]: tests}


def make_figure(curves: dict[str, list[tuple[int, float]]]):
    """A matplotlib figure of curves over steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (column, points), style in zip(curves.items(), ("-", "o-"), strict=True):
        split, _, unit = column.partition("_")
        if points:
            # The test figures of train.py are those of the averaged parameters.
            name = {"test": "test (averaged parameters)"}.get(split, split)
            axes.plot(*zip(*points, strict=True), style, markersize=4, label=name)
    unit = {"bits_per_dim": "bits/dim"}.get(unit, "energy distance per pixel")
    axes.set(xlabel="step", ylabel=unit)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw(curves: dict[str, list[tuple[int, float]]], path: str) -> None:
    """Draws curves to a file of one of FORMATS."""
    kind = os.path.splitext(path)[1][1:]
    with open_atomic(path, "wb") as file:
        make_figure(curves).savefig(file, format=kind, dpi=150)
