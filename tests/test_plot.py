"""plot.py: the training curve of metrics.csv, and its picture."""

import functools
import importlib.util

import command_lines
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

METRICS = """step,epoch,train_bits_per_dim,test_bits_per_dim,learning_rate,speed
50,0,7.5,,0.001,100
60,0,7.1,5.5,0.001,
100,1,5.25,,0.001,100
120,1,,5.0,0.001,
"""


@pytest.fixture(scope="module")
def plot():
    """Runs a command line of plot.py."""
    return functools.partial(command_lines.run, "plot.py")


@pytest.fixture(scope="module")
def module(plot):
    return importlib.import_module("plot")


def lines_of(figure):
    (axes,) = figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    return axes.get_ylabel(), lines


def test_curve_has_the_values_of_the_intervals_and_the_test_values(module, tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    curves = module.read_curves(str(tmp_path))
    assert curves == {
        "train_bits_per_dim": [(50, 7.5), (100, 5.25)],
        "test_bits_per_dim": [(60, 5.5), (120, 5.0)],
    }
    assert lines_of(module.plot_curves(curves)) == (
        "bits/dim",
        {
            "train": [[50, 7.5], [100, 5.25]],
            "test (EMA parameters)": [[60, 5.5], [120, 5.0]],
        },
    )


def test_validation_values_are_named_so(module, tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS.replace("test_", "validation_"))
    curves = module.read_curves(str(tmp_path))
    assert curves["validation_bits_per_dim"] == [(60, 5.5), (120, 5.0)]
    _, lines = lines_of(module.plot_curves(curves))
    assert list(lines) == ["train", "validation (EMA parameters)"]


def test_curve_of_epochs_alone_has_their_training_values(module, tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "step,epoch,train_energy_distance,test_energy_distance,learning_rate,x\n"
        "60,0,7.1,5.5,0.001,\n"
    )
    curves = module.read_curves(str(tmp_path))
    assert curves["train_energy_distance"] == [(60, 7.1)]
    unit, _ = lines_of(module.plot_curves(curves))
    assert unit == "energy distance per pixel"


def test_curve_of_more_epochs_than_intervals_has_the_values_of_epochs(module, tmp_path):
    header = METRICS.splitlines()[0]
    rows = "10,0,7.0,6.0,0.1,\n15,1,6.5,,0.1,\n20,1,6.0,5.5,0.1,\n"
    (tmp_path / "metrics.csv").write_text(f"{header}\n{rows}")
    curves = module.read_curves(str(tmp_path))
    assert curves["train_bits_per_dim"] == [(10, 7.0), (20, 6.0)]


def test_plot_writes_the_picture_whole(plot, tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    done = plot("--save_dir=.", tmp_path)
    assert (done.returncode, done.stdout) == (0, "curve: ./curve.png\n"), done.stderr
    png = tf.io.decode_png((tmp_path / "curve.png").read_bytes())
    assert png.shape[:2] == (675, 1050) and len(np.unique(png)) > 50
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "curve.png"}


def test_plot_replaces_its_own_picture_and_no_other(plot, tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    for kind in "png", "pdf", "svg":
        for _ in range(2):
            assert plot(f"--save_dir=. --output=a.{kind}", tmp_path).returncode == 0
    Figure().savefig(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    done = plot("--save_dir=. --output=photo.png", tmp_path)
    assert done.returncode == 1 and done.stderr == (
        "error: --output=photo.png: photo.png is there, and holds no curve; give "
        "another file, or remove it.\n"
    )
    assert (tmp_path / "photo.png").read_bytes() == before


@pytest.mark.parametrize(
    "metrics, message",
    [
        (None, "has no metrics.csv; give the folder of a run"),
        ("", "has no values yet; train longer"),
        (METRICS.splitlines()[0], "has no values yet; train longer"),
        (METRICS + "130,1\n", "line 6 is damaged"),
        (METRICS + "130,1,x,,0.1,2\n", "line 6 is damaged"),
        (METRICS + "1_30,1,5.0,,0.1,2\n", "line 6 is damaged"),
        (METRICS + "130,1,1_0,,0.1,2\n", "line 6 is damaged"),
        (METRICS + "130,1,1e308,-1e308,0.1,2\n", "line 6 is damaged"),
        (METRICS[5:], "line 1 is damaged; resume the run (--resume), which repairs"),
        (METRICS.replace("test", "train"), "line 1 is damaged"),
        (METRICS.partition("\n")[2], "line 1 is damaged"),
        (METRICS + f"{10**400},1,5.0,,0.1,2\n", "line 6 is damaged"),
        (METRICS + "\0" * 200_000, "line 6 is damaged"),
    ],
)
def test_metrics_without_a_curve_are_rejected(plot, metrics, message, tmp_path):
    if metrics is not None:
        (tmp_path / "metrics.csv").write_text(metrics)
    done = plot("--save_dir=.", tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_picture_without_a_known_format_or_without_matplotlib_is_rejected(
    plot, tmp_path, monkeypatch
):
    (tmp_path / "metrics.csv").write_text(METRICS)
    done = plot("--save_dir=. --output=a.jpg", tmp_path)
    assert done.returncode == 1
    assert "--output=a.jpg: must be a name that ends in .png, .pdf" in done.stderr
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = plot("--save_dir=.", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: matplotlib is not installed; pip install -e '.[plots]'.\n"
    )
