"""evaluate.py as users run it: CSV of scores, heat maps, samples by label."""

import csv
import errno
import functools
import importlib.util
import json
import math
import os
import sys

import numpy as np
import pytest
import small_runs
import tensorflow as tf
from command_lines import contents_of

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.evaluation import heatmap, samples

pytestmark = pytest.mark.slow

LINES = {
    "folder": "-o labelled -d folder -i pictures --batch_size=2 --skip_bad_images "
    "--scores_csv=folder.csv --output_json=folder.json",
    "npz": "-o plain -d npz -i labelled.npz -b 4 --max_images=6 --scores_csv=npz.csv",
    # Numbers far beyond those of the images mean all of them.
    "unlabelled": "-o plain -d npz -i unlabelled.npz --scores_csv=unlabelled.csv "
    f"--max_images={10**30} --batch_size={10**30}",
    "maps": "-o plain -d npz -i labelled.npz -b 2 --max_images=3 --heatmap --scale=2 "
    "--output_dir=maps --scores_csv=maps.csv",
    "bound": "-o bound -d npz -i labelled.npz --heatmap --max_images=2 "
    "--dequantization_draws=3 --output_dir=bound_maps --heatmap_max=20",
    "all": "-o labelled -ns 7 --output_dir=all -s 3",
    "two": "-o labelled -ns 4 --labels=2,0 --output_dir=two --scale=3",
}
# Command line, then the value and the remedy that the one line on stderr must name.
REJECTED = [
    (
        "-o plain --temperature=0.5",
        "--temperature=0.5: has no effect",
        "give --num_samples",
    ),
    ("-o plain --seed=3,4", "--seed=3,4: has no effect here", "give --num_samples"),
    (
        "-o plain -ns 1 --output_dir=x --num_completions=2",
        "--num_completions=2: has no effect",
        "complete_rows",
    ),
    ("-o plain --scores_csv=gone/a.csv", "--scores_csv=gone/a.csv", "that exists"),
    ("-o plain --scores_csv=", "--scores_csv=: is empty", "give a path"),
    ("-o plain --scores_csv=c.json", "c.json is there", "holds no scores"),
    ("-o plain --output_json=results.json", "results.json is there", "another file"),
    ("-o plain --scores_csv=a --output_json=./a", "--scores_csv=a", "another file"),
    (
        "-o plain --output_json=c.json --scores_csv=c.json.new",
        "--scores_csv=c.json.new: collides with --output_json=c.json",
        "another file",
    ),
    (
        "-o plain --output_json=c.csv.new --scores_csv=link.csv",
        "--scores_csv=link.csv: collides with --output_json=c.csv.new",
        "another file",
    ),
    (
        "-o plain -ns 1 --output_dir=. --scores_csv=samples.npz",
        "--output_dir=.: collides with --scores_csv=samples.npz",
        "another file",
    ),
    (
        "-o plain -ns 1 --output_dir=new --scores_csv=new",
        "--output_dir=new: collides with --scores_csv=new",
        "another file",
    ),
    ("-o plain -ns 1 --output_dir=taken", "taken/samples.png is not", "another folder"),
    ("-o plain -ns 1 --output_dir=own_png", "own_png/samples.png is there", "remove"),
    (
        "-o plain --heatmap --output_dir=own_npz",
        "own_npz/heatmaps.npz is there, and looks like a file of another program",
        "another folder",
    ),
    ("-o plain --heatmap", "--output_dir", "give the folder"),
    ("-o energy --heatmap --output_dir=new", "energy_distance=True", "--num_samples"),
    ("-o nan --scores_csv=a", "NaN or infinite weights", "lower --learning_rate"),
    ("-o nan -ns 1 --output_dir=new", "NaN or infinite weights", "retrain it"),
    ("-o nan --heatmap --output_dir=new", "NaN or infinite weights", "retrain it"),
    (
        f"-o plain -ns {10**9} --output_dir=new --shard_images={10**8}",
        "--shard_images=100000000",
        "must fit in 4 GiB; give 22369621 or fewer",
    ),
    (
        f"-o bound --dequantization_draws={10**30}",
        "--dequantization_draws=1",
        "[1, 1000]",
    ),
    (
        "-o plain --heatmap --output_dir=new --heatmap_max=0",
        "--heatmap_max=0.0",
        "above 0",
    ),
    ("-o plain --heatmap_max=9", "--heatmap_max=9.0", "give --heatmap too"),
    ("-o plain -ns 2 --output_dir=new --scale=65", "--scale=65", "[1, 64]"),
    (
        "-o plain --complete_rows=3 --num_completions=300000 --output_dir=new",
        "--scale=16",
        "give fewer images",
    ),
    ("-o plain -ns 2 --output_dir=new --labels=0", "--labels=0", "remove the flag"),
    ("-o labelled -ns 2 --output_dir=new --labels=3", "--labels=3", "0 to 2"),
    ("-o labelled -ns 2 --output_dir=new --labels=-1", "--labels=-1", "0 to 2"),
    (
        "-o labelled -ns 2 --output_dir=new --labels=a",
        "--labels=a",
        "class names or numbers",
    ),
    (
        "-o labelled -ns 2 --output_dir=new --labels=",
        "--labels=",
        "class names or numbers",
    ),
    (
        "-o labelled -ns 1 --output_dir=new --labels=0,1",
        "--labels=0,1",
        "--num_samples=2 or more",
    ),
    ("-o labelled --labels=0", "--labels=0", "give --num_samples too"),
]


@pytest.fixture(scope="module")
def folder(npz_path, tmp_path_factory):
    """Untrained runs of each kind, and images."""
    folder = tmp_path_factory.mktemp("evaluate")
    with np.load(npz_path) as file:
        arrays = dict(file)
    np.savez(folder / "labelled.npz", **arrays)
    np.savez(folder / "unlabelled.npz", test_images=arrays["test_images"])
    where = {"data_set": "npz", "data_dir": str(folder / "labelled.npz")}
    runs = {
        "plain": {},
        "labelled": {"num_labels": 3},
        "bound": {"likelihood": "mix_logistic_continuous"},
        "energy": {"energy_distance": True, "field": None},
        "nan": {},
    }
    for name, changes in runs.items():
        changes = {"field": "11x5"} | changes
        small_runs.write_untrained(folder / name, **where, **changes)
    model, _ = checkpoint.load_model(str(folder / "nan"))
    weights = list(model.parameters.values())[-1]
    weights.assign(
        tf.tensor_scatter_nd_update(weights, [[0] * weights.shape.rank], [np.nan])
    )
    checkpoint.write(str(folder / "nan"), 2, {"averages": model.tf_variables()})
    (folder / "taken" / "samples.png").mkdir(parents=True)
    for own, name in ("own_png", "samples.png"), ("own_npz", "heatmaps.npz"):
        (folder / own).mkdir()
        (folder / own / name).write_bytes(b"my own")
    (folder / "c.json").write_text('{"bits_per_dim": 1}')
    (folder / "c.csv").write_text("image,label,bits_per_dim\n")
    (folder / "link.csv").symlink_to("c.csv")
    (folder / "results.json").write_text('{"ours": {"bits_per_dim": 1}}')
    for i, image in enumerate(arrays["test_images"][:5]):
        png = tf.io.encode_png(image).numpy()
        for split in ("train", "test"):
            path = folder / "pictures" / split / "cab"[i % 3]
            path.mkdir(parents=True, exist_ok=True)
            (path / f"{i}.png").write_bytes(png)
    (folder / "pictures" / "test" / "a" / "0.png").write_bytes(png[:60])
    return folder


@pytest.fixture(scope="module")
def printed(evaluate, folder):
    """What LINES printed."""
    results = {name: evaluate(line, folder) for name, line in LINES.items()}
    assert {n: done.stderr for n, done in results.items() if done.returncode} == {}
    return {name: done.stdout.splitlines() for name, done in results.items()}


@pytest.fixture(scope="module")
def test_images(folder):
    with np.load(folder / "labelled.npz") as file:
        return file["test_images"]


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def load(folder):
    """The models of the runs, each loaded once."""
    return functools.cache(lambda run: checkpoint.load_model(str(folder / run))[0])


def bits_of(model, images, labels=None):
    """bits/dim of each image by the model of a run, one image at a time."""
    nats = []
    for i in range(len(images)):
        one = slice(i, i + 1)
        nats.append(-model.log_prob(images[one], labels and labels[one]))
    return np.ravel(nats) / (math.log(2) * 8 * 8 * 3)


def test_csv_of_a_folder_has_the_file_and_label_of_each_score(
    printed, load, folder, test_images
):
    rows = read_csv(folder / "folder.csv")
    # Classes are numbered a, b, c, and images 0 … 4 lie in c, a, b, c, a.
    names = ["a/1.png", "a/4.png", "b/2.png", "c/0.png", "c/3.png"]
    assert [row["image"] for row in rows] == names
    assert [row["label"] for row in rows] == list("00122")
    order = [1, 4, 2, 0, 3]
    expected = bits_of(load("labelled"), test_images[order], [0, 0, 1, 2, 2])
    scores = [float(row["bits_per_dim"]) for row in rows]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    scores_json = json.loads((folder / "folder.json").read_text())
    assert (
        scores_json["bits_per_dim_per_image"] == scores
        and scores_json["num_images"] == 5
    )
    assert scores_json["bits_per_dim"] == pytest.approx(np.mean(scores), rel=1e-12)
    line = f"test bits_per_dim = {np.mean(scores):.4f} (5 images)"
    assert printed["folder"] == [line]


def test_csv_has_numbers_and_labels_where_there_are_any_though_the_model_takes_none(
    printed, load, folder, test_images
):
    rows = read_csv(folder / "npz.csv")
    assert [row["image"] for row in rows] == list("012345")
    assert [row["label"] for row in rows] == list("012012")
    scores = [float(row["bits_per_dim"]) for row in rows]
    expected = bits_of(load("plain"), test_images[:6])
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    unlabelled = read_csv(folder / "unlabelled.csv")
    assert [row["label"] for row in unlabelled] == [""] * 11
    assert [row["image"] for row in unlabelled] == [str(i) for i in range(11)]
    assert not list(folder.glob("*.new"))


def test_heat_maps_sum_to_the_scores(printed, folder, test_images):
    with np.load(folder / "maps" / "heatmaps.npz") as file:
        originals, bits = file["originals"], file["bits"]
    np.testing.assert_array_equal(originals, test_images[:3])
    assert bits.shape == (3, 8, 8) and bits.dtype == np.float32
    scores = [float(row["bits_per_dim"]) for row in read_csv(folder / "maps.csv")]
    np.testing.assert_allclose(bits.sum(axis=(1, 2)) / (8 * 8 * 3), scores, rtol=1e-5)
    low, high = heatmap.colour_limits(bits)
    maps = f"3 heat maps, colours from {low:.3g} to {high:.3g} bits per pixel"
    assert printed["maps"][0] == f"{maps}: maps/heatmaps.png, maps/heatmaps.npz"
    assert printed["maps"][1].startswith("test bits_per_dim = ")
    png = tf.io.decode_png((folder / "maps" / "heatmaps.png").read_bytes()).numpy()
    figure = heatmap.make_figure(originals, bits, low, high, scale=2)
    np.testing.assert_array_equal(png, heatmap.render(figure))


def test_heat_maps_of_a_bound_are_the_mean_of_the_dequantizations_asked_for(
    printed, load, folder, test_images
):
    model = load("bound")
    model.objective.dequantization_draws = 3
    with np.load(folder / "bound_maps" / "heatmaps.npz") as file:
        nats = -file["bits"].sum(axis=(1, 2)) * math.log(2)
    np.testing.assert_allclose(nats, model.log_prob(test_images[:2]), rtol=1e-5)
    (line,) = printed["bound"]
    assert " to 20 bits per pixel; estimate of an upper bound, mean of 3 deq" in line


@pytest.mark.parametrize(
    "name, n, seed, rows, scale",
    # Pixels of 16×16 make 128 of 8.
    [("all", 7, 3, [0, 1, 2], 16), ("two", 4, 0, [2, 0], 3)],
)
def test_samples_cycle_through_the_labels_and_each_label_is_a_row(
    printed, load, folder, name, n, seed, rows, scale
):
    model = load("labelled")
    labels = [rows[i % len(rows)] for i in range(n)]
    expected = model.sample(n, labels, seed=(seed, 0)).numpy()
    with np.load(folder / name / "samples.npz") as file:
        np.testing.assert_array_equal(file["images"], expected)
        assert file["labels"].tolist() == labels
    png = tf.io.decode_png((folder / name / "samples.png").read_bytes())
    grid = image_ops.enlarge(samples.tile_rows(expected, len(rows)), scale)
    np.testing.assert_array_equal(png, grid)
    order = ", ".join(map(str, rows))
    files = f"{name}/samples.png, {name}/samples.npz"
    assert printed[name] == [f"{n} samples, rows of labels {order}: {files}"]


@pytest.fixture(scope="module")
def rejected(evaluate, folder, printed):
    """What the lines of REJECTED came to; the folder before and after."""
    before = contents_of(folder)
    done = [evaluate(line, folder) for line, *_ in REJECTED]
    return done, before, contents_of(folder)


@pytest.mark.parametrize("index", range(len(REJECTED)), ids=[r[0] for r in REJECTED])
def test_bad_value_ends_in_one_line_that_names_it_and_the_remedy(rejected, index):
    _, value, remedy = REJECTED[index]
    done = rejected[0][index]
    line, *more = done.stderr.splitlines()
    assert done.returncode == 1 and len(more) <= line.startswith("FATAL Flags")
    assert value in line and remedy in line


def test_bad_values_write_nothing(rejected):
    _, before, after = rejected
    assert after == before


def test_heat_maps_without_matplotlib_end_in_one_line_and_samples_do_not_need_it(
    evaluate, folder, tmp_path, monkeypatch
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "matplotlib" else find_spec(name, *rest),
    )
    line = f"-o plain --heatmap --max_images=1 --output_dir={tmp_path}/out"
    done = evaluate(line, folder)
    assert done.returncode == 1 and done.stderr == (
        "error: --heatmap: matplotlib is not installed; pip install -e '.[plots]'.\n"
    )
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = evaluate(f"-o labelled -ns 1 --output_dir={tmp_path}/out", folder)
    assert done.returncode == 0, done.stderr


def test_picture_that_cannot_be_written_ends_in_one_line(
    evaluate, folder, tmp_path, monkeypatch
):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    line = f"-o plain --heatmap --max_images=1 --output_dir={tmp_path}/out"
    done = evaluate(line, folder)
    assert (done.returncode, done.stdout) == (1, "")
    name = tmp_path / "out" / "heatmaps.npz.new"
    assert done.stderr == f"error: [Errno 28] No space left on device: '{name}'\n"
    assert os.listdir(tmp_path / "out") == ["heatmaps.npz.new"]
