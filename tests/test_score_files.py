"""Files of scores and curves: whole or not there; ROC-AUC by hand."""

import csv
import os
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

import data
from pixel_cnn_pp import curve, files, score_files

sys.path.insert(0, str(ROOT / "benchmarks"))

import roc_auc

from data import shapes


def test_file_that_is_not_finished_leaves_the_one_before_it_as_it_was(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="lost"):
        with score_files.open_csv(str(path)) as write:
            write([("a.png", 3, 0.5)])
            raise RuntimeError("lost")
    assert path.read_text() == "old"
    rows = "image,label,bits_per_dim\na.png,3,0.5\n"
    assert (tmp_path / "scores.csv.new").read_text() == rows
    with score_files.open_csv(str(path)) as write:
        write([("a.png", 3, 0.5)])
        assert path.read_text() == "old"
    assert path.read_text() == rows
    assert os.listdir(tmp_path) == ["scores.csv"]


def test_names_with_commas_newlines_and_bytes_that_are_no_text_come_back(tmp_path):
    path = str(tmp_path / "scores.csv")
    names = ["a,b.png", 'two\nlines".png', os.fsdecode(b"\xff.png"), "ö.png"]
    with score_files.open_csv(path) as write:
        write((name, "", 1 / 3) for name in names)
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == names
    assert {row["label"] for row in rows} == {""}
    assert [float(row["bits_per_dim"]) for row in rows] == [1 / 3] * 4


def test_link_stays_a_link_to_the_file_that_is_written(tmp_path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("real.json")
    score_files.write_json(str(tmp_path / "link.json"), {"a": 1})
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == '{"a": 1}'


@pytest.mark.parametrize("path", ["", "gone/a.csv", "folder", "taken", "/dev/null"])
def test_path_that_no_file_can_take_is_refused_by_its_flag(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken.new").mkdir()
    with pytest.raises(OSError, match=f"^--scores_csv={path}: cannot be written; give"):
        files.check_file_writable("scores_csv", path)
    files.check_file_writable("scores_csv", "good.csv")


@pytest.fixture
def pictures(tmp_path):
    png = tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy()
    for name in ("train/b/1.png", "test/b/2.png", "test/b/torn.png", "test/a/9.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png[:50] if "torn" in name else png)
    (tmp_path / "train" / "a").mkdir()
    return tmp_path


def test_names_of_a_folder_are_its_readable_files_in_the_order_of_its_images(pictures):
    source = data.load(
        "folder", str(pictures), "test", labels=True, skip_bad_images=True
    )
    assert list(source.names()) == ["a/9.png", "b/2.png"]
    labels = [int(example["label"]) for example in source.examples()]
    assert labels == [0, 1]


def test_names_elsewhere_are_numbers_from_0(npz_path):
    source = data.load("npz", npz_path, "test")
    assert list(source.names()) == [str(i) for i in range(11)]


def test_labels_are_there_or_not_before_images_are_read(pictures, npz_path, tmp_path):
    unlabelled = tmp_path / "unlabelled.npz"
    np.savez(unlabelled, test_images=np.zeros((1, 8, 8, 3), np.uint8))
    assert data.has_labels("npz", npz_path, "test")
    assert not data.has_labels("npz", str(unlabelled), "test")
    assert not data.has_labels("npz", "gone.npz", "test")
    assert data.has_labels("folder", str(pictures), "test")
    (pictures / "test" / "a" / "9.png").rename(pictures / "test" / "9.png")
    assert not data.has_labels("folder", str(pictures), "test")
    assert not data.has_labels("folder", "gone", "test")
    assert data.has_labels("shapes", None, "test")
    assert not data.has_labels("imagenet32", None, "test")


def test_roc_auc_is_the_share_of_pairs_ties_counting_half():
    # 2 is above 1 and ties with 2; 4 is above all: (1 + ½ + 0 + 1 + 1 + 1) / 6.
    usual, unusual = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    assert roc_auc.roc_auc(usual, unusual) == 4.5 / 6
    assert roc_auc.roc_auc(unusual, usual) == 1.5 / 6
    assert roc_auc.roc_auc(np.ones(3), np.ones(2)) == 0.5
    assert roc_auc.ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [2.5, 1, 2.5, 4]


def write_scores(path, scores):
    with score_files.open_csv(str(path)) as write:
        write((str(i), "", score) for i, score in enumerate(scores))
    return path


def test_roc_auc_command_measures_scores_and_their_distance_from_the_median(
    run_command, tmp_path
):
    usual = write_scores(tmp_path / "usual.csv", [3.0, 4.0, 5.0])
    unusual = write_scores(tmp_path / "unusual.csv", [1.0, 2.0])
    flags = f"--usual={usual}", f"--unusual={unusual}", f"--reference={usual}"
    done = run_command("benchmarks/roc_auc.py", *flags)
    assert done.stdout.splitlines() == [
        "bits/dim: usual 4.000, unusual 1.500",
        "ROC-AUC of bits/dim: 0.000",
        "ROC-AUC of the distance from 4.000 bits/dim: 1.000",
    ]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    flags = f"--usual={usual}", f"--unusual={tmp_path / 'other.csv'}"
    done = run_command("benchmarks/roc_auc.py", *flags)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == (
        f"error: --unusual={tmp_path}/other.csv: is no file of evaluate.py "
        "--scores_csv; give one.\n"
    )


def test_other_images_are_made_of_the_test_images_they_are_said_to_be(
    run_command, tmp_path
):
    first = shapes.draw("test", 0, 16)
    flags = (f"--output_dir={tmp_path}", "--num_images=2")
    done = run_command("benchmarks/other_images.py", *flags)
    assert done.returncode == 0, done.stderr
    made = {path.stem: np.load(path)["test_images"] for path in tmp_path.glob("*.npz")}
    assert len(made) == 6
    for images in made.values():
        assert images.shape == (2, 16, 16, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(made["upside_down"][0], first[::-1])
    np.testing.assert_array_equal(made["negative"][0], 255 - first)
    middle = first[4:7, 7:10].astype(float).mean(axis=(0, 1))
    np.testing.assert_array_equal(made["blurred"][0][5, 8], np.round(middle))
    gradient = made["gradient"][0].astype(int)
    assert (gradient == gradient[:1]).all()
    assert abs(np.diff(gradient[0], 2, axis=0)).max() <= 1
    changed = (made["speckled"] != [first, shapes.draw("test", 1, 16)]).any(-1)
    assert 0 < changed.sum() < 20


METRICS = """step,epoch,train_bits_per_dim,test_bits_per_dim,learning_rate,speed
50,0,7.5,,0.001,100
60,0,7.1,5.5,0.001,
100,1,5.25,,0.001,100
120,1,,5.0,0.001,
"""


def test_curve_has_the_intervals_figures_and_the_test_figures(tmp_path):
    (tmp_path / "metrics.csv").write_text(METRICS)
    curves = curve.read_curves(str(tmp_path))
    assert curves == {
        "train_bits_per_dim": [(50, 7.5), (100, 5.25)],
        "test_bits_per_dim": [(60, 5.5), (120, 5.0)],
    }
    (axes,) = curve.make_figure(curves).axes
    assert axes.get_ylabel() == "bits/dim"
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {
        "train": [[50, 7.5], [100, 5.25]],
        "test (averaged parameters)": [[60, 5.5], [120, 5.0]],
    }


def test_curve_of_epochs_alone_has_their_training_figures(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "step,epoch,train_energy_distance,test_energy_distance,learning_rate,x\n"
        "60,0,7.1,5.5,0.001,\n"
    )
    curves = curve.read_curves(str(tmp_path))
    assert curves["train_energy_distance"] == [(60, 7.1)]
    (axes,) = curve.make_figure(curves).axes
    assert axes.get_ylabel() == "energy distance per pixel"


def test_plot_writes_the_picture_or_says_in_one_line_what_is_wrong(
    run_command, tmp_path
):
    (tmp_path / "metrics.csv").write_text(METRICS)
    done = run_command("plot.py", f"--save_dir={tmp_path}")
    assert done.stdout == f"curve: {tmp_path}/curve.png\n", done.stderr
    png = tf.io.decode_png((tmp_path / "curve.png").read_bytes())
    assert png.shape[:2] == (675, 1050) and len(np.unique(png)) > 50


@pytest.mark.parametrize(
    "metrics, message",
    [
        (None, "has no metrics.csv; give the folder of a run"),
        ("", "has no figures yet; train longer"),
        (METRICS.splitlines()[0], "has no figures yet; train longer"),
        (METRICS + "130,1\n", "line 6 is none that train.py wrote"),
        (METRICS + "130,1,x,,0.1,2\n", "line 6 is none that train.py wrote"),
    ],
)
def test_metrics_that_are_no_curve_are_refused(metrics, message, tmp_path):
    if metrics is not None:
        (tmp_path / "metrics.csv").write_text(metrics)
    with pytest.raises(ValueError, match=message):
        curve.read_curves(str(tmp_path))


def test_picture_without_a_known_format_or_without_matplotlib_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"--output=a.jpg: must .* ends in .png, .pdf"):
        curve.refuse_format("a.jpg")
    monkeypatch.setattr(curve.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[plots\]'"):
        curve.refuse_without_matplotlib()
