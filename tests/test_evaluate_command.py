"""evaluate.py and export.py as users run them: results, samples, completions."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from command_folder import GOLDEN, GOLDEN_LABELLED
from command_lines import run
from golden import Golden

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.evaluation.evaluator import bits_per_dim

pytestmark = pytest.mark.slow

EVALUATIONS = {
    "averaged": "-o run",
    "raw": "-o run --noaveraged",
    "train": "-o run --split=train",
    "first_5": "-o run --max_images=5 --batch_size=2",
    "labelled": "-o labelled",
    "pictured": "-o pictured",
    "golden": GOLDEN,
    "golden_labelled": f"{GOLDEN_LABELLED} -z elu --noaveraged",
}
SAMPLINGS = {
    "samples": "-o run -ns 5 -s 3 --temperature=0.9 --scale=1 --output_dir=samples",
    "completions": "-o labelled --complete_rows=3 --max_images=2 --num_completions=3 "
    "--scale=1 --output_dir=completions",
    "official": "--official_checkpoint=unconditional.ckpt --image_size=8 -ns 2 "
    "--output_dir=official_samples",
}


def printed(stdout):
    """(split, bits/dim, number of images) of the one line that evaluate.py prints."""
    line = r"(\w+) bits_per_dim = (\d+\.\d{4}) \((\d+) images\)\n"
    split, result, num_images = re.fullmatch(line, stdout).groups()
    return split, float(result), int(num_images)


@pytest.fixture(scope="module")
def evaluations(command_folder, resumed, other_runs):
    """For each of EVALUATIONS the printed line, and the JSON written."""
    found = {}
    for name, line in EVALUATIONS.items():
        done = run("evaluate.py", f"{line} --output_json={name}.json", command_folder)
        assert done.returncode == 0, done.stderr
        assert bool(done.stderr) == (name == "pictured")  # It has a bad image.
        scores = json.loads((command_folder / f"{name}.json").read_text())
        found[name] = printed(done.stdout), scores
    return found


@pytest.fixture(scope="module")
def sampled(command_folder, resumed, other_runs):
    """The last line that evaluate.py printed, for each of SAMPLINGS."""
    found = {}
    for name, line in SAMPLINGS.items():
        done = run("evaluate.py", line, command_folder)
        assert (done.returncode, done.stderr) == (0, "")
        found[name] = done.stdout.splitlines()[-1]
    return found


@pytest.mark.parametrize("name", ["averaged", "labelled"])
def test_evaluate_prints_the_last_test_result_of_the_metrics(
    evaluations, resumed, other_runs, name
):
    (split, result, num_images), scores = evaluations[name]
    rows = (resumed if name == "averaged" else other_runs["labelled"]).rows
    last = float(rows[-1]["test_bits_per_dim"])
    assert (split, num_images) == ("test", 11)
    assert result == pytest.approx(last, abs=0.00005 + 1e-6 * last)
    assert scores["bits_per_dim"] == pytest.approx(last, rel=1e-6)


@pytest.mark.parametrize(
    "name, save_dir, split, averaged, num_images",
    [
        ("averaged", "run", "test", True, 11),
        ("raw", "run", "test", False, 11),
        ("train", "run", "train", True, 40),
        ("first_5", "run", "test", True, 5),
        ("labelled", "labelled", "test", True, 11),
    ],
)
def test_evaluate_scores_the_images_that_its_flags_name_by_the_model_they_name(
    evaluations, command_folder, name, save_dir, split, averaged, num_images
):
    model, config = checkpoint.load_model(str(command_folder / save_dir), averaged)
    with np.load(command_folder / "labelled.npz") as file:
        images = file[f"{split}_images"][:num_images]
        labels = file[f"{split}_labels"][:num_images]
    nats = -model.log_prob(images, labels if config.class_conditional else None)
    expected = bits_per_dim(nats.numpy().astype(np.float64), (8, 8, 3))
    line, scores = evaluations[name]
    assert line == (split, pytest.approx(expected.mean(), abs=6e-5), num_images)
    assert scores.keys() == {"bits_per_dim", "num_images", "bits_per_dim_per_image"}
    assert scores["num_images"] == num_images
    np.testing.assert_allclose(scores["bits_per_dim_per_image"], expected, rtol=1e-5)
    mean = np.mean(scores["bits_per_dim_per_image"])
    assert scores["bits_per_dim"] == pytest.approx(mean, rel=1e-12)


def test_bad_images_that_a_run_skipped_are_skipped_where_it_is_evaluated(
    evaluations, other_runs
):
    assert other_runs["pictured"].config.skip_bad_images
    (split, _, num_images), _ = evaluations["pictured"]
    assert (split, num_images) == ("test", 1)


@pytest.mark.parametrize(
    "name, golden, loss",
    [
        ("golden", "unconditional", "train_final_loss_ema"),
        ("golden_labelled", "class_conditional_elu", "train_final_loss"),
    ],
)
def test_evaluate_gives_an_official_checkpoint_the_official_result(
    evaluations, name, golden, loss
):
    nats, images = float(Golden(golden)[loss]), Golden(golden)["images"]
    expected = nats / (np.log(2) * images.size)
    line, scores = evaluations[name]
    assert line == ("test", pytest.approx(expected, abs=6e-5), len(images))
    assert scores["bits_per_dim"] == pytest.approx(expected, rel=1e-6)


def test_evaluate_writes_samples_of_the_model_with_ema_parameters(
    sampled, command_folder
):
    line = "5 samples: samples/samples.png, samples/samples.npz"
    assert sampled["samples"] == line
    folder = command_folder / "samples"
    model, _ = checkpoint.load_model(str(command_folder / "run"))
    expected = model.sample(5, seed=(3, 0), temperature=0.9).numpy()
    with np.load(folder / "samples.npz") as file:
        np.testing.assert_array_equal(file["images"], expected)
    png = tf.io.decode_png((folder / "samples.png").read_bytes())
    np.testing.assert_array_equal(png, image_ops.tile(expected))


def test_evaluate_completes_images_beside_their_originals(sampled, command_folder):
    files = "completions/completions.png, completions/completions.npz"
    assert sampled["completions"] == f"2 completed images: {files}"
    folder = command_folder / "completions"
    with np.load(command_folder / "labelled.npz") as file:
        originals = file["test_images"][:2]
    with np.load(folder / "completions.npz") as file:
        np.testing.assert_array_equal(file["originals"], originals)
        completions = file["completions"]
    assert completions.shape == (2, 3, 8, 8, 3)
    kept = np.broadcast_to(originals[:, None, :3], (2, 3, 3, 8, 3))
    np.testing.assert_array_equal(completions[:, :, :3], kept)
    assert (completions[:, 0] != completions[:, 1]).any()
    png = tf.io.decode_png((folder / "completions.png").read_bytes())
    assert png.shape == (2 * 9 + 1, 5 * 9 + 1, 3)
    np.testing.assert_array_equal(png[1:9, 1:9], originals[0])
    assert (png[4:9, 10:18].numpy() == 128).all()
    np.testing.assert_array_equal(png[10:18, 37:45], completions[1, 2])


def test_evaluate_samples_from_an_official_checkpoint_without_images(
    sampled, command_folder
):
    assert sampled["official"].startswith("2 samples: official_samples/samples.png")
    with np.load(command_folder / "official_samples" / "samples.npz") as file:
        images = file["images"]
    assert images.shape == (2, 8, 8, 3) and images.dtype == np.uint8
    assert (images[0] != images[1]).mean() > 0.5


def test_export_writes_a_saved_model_of_the_ema_parameters(evaluations, command_folder):
    done = run("export.py", "-o run --export_dir=served", command_folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "SavedModel: served\n"
    served = tf.saved_model.load(str(command_folder / "served")).signatures
    with np.load(command_folder / "labelled.npz") as file:
        images = tf.constant(file["test_images"])
    _, scores = evaluations["averaged"]
    np.testing.assert_allclose(
        served["log_prob"](images=images)["bits_per_dim"],
        scores["bits_per_dim_per_image"],
        rtol=1e-5,
    )
