"""Files of scores: whole or not there; names and labels of the images."""

import csv
import os

import command_lines
import numpy as np
import pytest
import small_runs
import tensorflow as tf

import data
from pixel_cnn_pp import PixelCNNPP, files
from pixel_cnn_pp.evaluation import samples, tasks
from pixel_cnn_pp.evaluation.scores import open_csv
from pixel_cnn_pp.likelihood import bits_per_dim


def test_file_that_is_not_finished_leaves_the_one_before_it_as_it_was(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="lost"):
        with open_csv(str(path)) as write_rows:
            write_rows(["a.png"], np.array([3]), np.array([0.5]))
            raise RuntimeError("lost")
    assert path.read_text() == "old"
    rows = "image,label,bits_per_dim\na.png,3,0.5\n"
    assert (tmp_path / "scores.csv.new").read_text() == rows
    with open_csv(str(path)) as write_rows:
        write_rows(["a.png"], np.array([3]), np.array([0.5]))
        assert path.read_text() == "old"
    assert path.read_text() == rows
    assert os.listdir(tmp_path) == ["scores.csv"]


def test_names_with_commas_newlines_and_bytes_that_are_no_text_come_back(tmp_path):
    path = str(tmp_path / "scores.csv")
    names = ["a,b.png", 'two\nlines".png', os.fsdecode(b"\xff.png"), "ö.png"]
    with open_csv(path) as write_rows:
        write_rows(names, None, np.full(4, 1 / 3))
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == names
    assert {row["label"] for row in rows} == {""}
    assert [float(row["bits_per_dim"]) for row in rows] == [1 / 3] * 4


def test_names_that_a_spreadsheet_would_run_get_a_quote_in_front(tmp_path):
    path = str(tmp_path / "scores.csv")
    names = ["=1+1.png", "+1.png", "-a,b.png", "@sum.png", "\t=1.png", "a=1.png"]
    with open_csv(path) as write_rows:
        write_rows(names, None, np.zeros(6))
    with open(path, newline="") as file:
        written = [row["image"] for row in csv.DictReader(file)]
    assert written == [f"'{name}" for name in names[:5]] + names[5:]


def test_link_stays_a_link_to_the_file_that_is_written(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    with open_csv(str(tmp_path / "link.csv")) as write_rows:
        write_rows(["0"], None, np.zeros(1))
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().endswith("\n0,,0.0\n")


@pytest.mark.parametrize("path", ["", "gone/a.csv", "folder", "taken", "/dev/null"])
def test_path_that_no_file_can_take_is_named_by_its_flag(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken.new").mkdir()
    with pytest.raises(OSError, match=f"^--scores_csv={path}: cannot be written; give"):
        files.check_file_writable("scores_csv", path)
    files.check_file_writable("scores_csv", "good.csv")


@pytest.fixture
def pictures(tmp_path):
    png = tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy()
    train, test = ("a/0.png", "b/1.png"), ("b/2.png", "b/torn.png", "a/9.png")
    for name in (*(f"train/{name}" for name in train), *(f"test/{n}" for n in test)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png[:50] if "torn" in name else png)
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


def test_image_i_stands_in_row_i_modulo_the_number_of_rows():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    grid = samples.tile_rows(images, 2)[1::2, 1::2, 0]
    assert grid.tolist() == [[0, 2, 4], [1, 3, 255]]
    assert samples.tile_rows(images[:2], 3)[1::2, 1::2, 0].tolist() == [[0], [1]]


def test_scores_written_before_an_error_stay_beside_the_file(tmp_path):
    model = PixelCNNPP((8, 8, 3), nr_filters=2, nr_logistic_mix=1, field="11x5")
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)

    class Failing:
        num_images, num_levels = 11, 256

        def examples(self, start=0):
            def some():
                yield from ({"image": image} for image in images[:4])
                raise RuntimeError("the disk is gone")

            spec = {"image": tf.TensorSpec((8, 8, 3), tf.uint8)}
            return tf.data.Dataset.from_generator(some, output_signature=spec)

        def names(self):
            return map(str, range(11))

    defaults = dict.fromkeys(tasks.Tasks.__dataclass_fields__)
    path = tmp_path / "scores.csv"
    asked = defaults | {"batch_size": 2, "scores_csv": str(path), "split": "test"}
    with pytest.raises(tf.errors.OpError, match="the disk is gone"):
        tasks.Tasks(**asked).run(model, Failing())
    assert not path.exists()
    with open(tmp_path / "scores.csv.new", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == list("0123")
    scores = [float(row["bits_per_dim"]) for row in rows]
    nats = -model.log_prob(images).numpy().astype(np.float64)
    expected = bits_per_dim(nats, (8, 8, 3))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.slow
def test_score_that_is_not_finite_ends_in_one_line(npz_path, tmp_path, monkeypatch):
    where = {"data_set": "npz", "data_dir": npz_path}
    small_runs.write_untrained(tmp_path / "plain", field="11x5", **where)

    def scores(*_):
        raise FloatingPointError("the bits of some images are NaN")
        yield

    monkeypatch.setattr(tasks.evaluator, "score", scores)
    done = command_lines.run("evaluate.py", "-o plain", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the bits of some images are NaN\n"
