"""evaluate.py --background_dir: the log-likelihood ratio in scores and heat maps."""

import csv
import json
import math

import numpy as np
import pytest
from small_models import random_images
from small_runs import write_untrained
from workers import tf_config

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.evaluation.ratio import log_likelihood_ratio

FIELD = {"field": "11x5", "data_set": "npz"}
NUM_IMAGES = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Untrained runs, and 7 labelled images."""
    folder = tmp_path_factory.mktemp("ratio")
    classes = {"num_labels": 3, "class_conditional": True}
    labelled = FIELD | classes | {"class_names": ("a", "b", "c")}
    runs = {
        "plain": FIELD,
        "background": FIELD | {"nr_filters": 5},
        "labelled": labelled,
        # The same classes in another order.
        "other_order": labelled | {"nr_filters": 5, "class_names": ("c", "a", "b")},
        "grey": FIELD | {"image_shape": (8, 8, 1)},
        "levels": FIELD | {"num_levels": 32},
        "density": FIELD | {"likelihood": "mix_logistic_continuous"},
    }
    for name, settings in runs.items():
        write_untrained(folder / name, data_dir=str(folder / "images.npz"), **settings)
    model, _ = checkpoint.load_model(str(folder / "plain"))
    np.savez(
        folder / "images.npz",
        test_images=random_images(NUM_IMAGES, model),
        test_labels=np.arange(NUM_IMAGES) % 3,
        class_names=["a", "b", "c"],
    )
    return folder


def nats(folder, name, labels=None):
    """log p of the images by the model of a run, [n]."""
    model, _ = checkpoint.load_model(str(folder / name))
    images = np.load(folder / "images.npz")["test_images"]
    return model.log_prob(images, labels).numpy()


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_ratio_of_a_bit_per_dim_more_by_the_background_is_12_ln_2_for_12_dims():
    ratio = log_likelihood_ratio(np.array([3.0]), np.array([4.0]), (2, 2, 3))
    assert ratio == pytest.approx(12 * math.log(2))


@pytest.mark.parametrize("devices", ["", " --batch_size=2"])
def test_scores_have_the_difference_of_both_log_likelihoods(evaluate, folder, devices):
    line = (
        "-o plain --background_dir=background --scores_csv=a.csv --output_json=a.json"
    )
    done = evaluate(line + devices, folder)
    assert (done.returncode, done.stderr) == (0, "")
    ours, theirs = nats(folder, "plain"), nats(folder, "background")
    columns = read(folder / "a.csv")
    assert columns["label"] == [str(i % 3) for i in range(NUM_IMAGES)]
    found = {name: np.array(columns[name], float) for name in list(columns)[2:]}
    per_dim = -1 / (8 * 8 * 3 * math.log(2))
    expected = {
        "bits_per_dim": ours * per_dim,
        "background_bits_per_dim": theirs * per_dim,
        "log_likelihood_ratio": ours - theirs,
    }
    assert list(found) == list(expected)
    content = json.loads((folder / "a.json").read_text())
    assert content["num_images"] == NUM_IMAGES
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-3)
        assert content[f"{name}_per_image"] == found[name].tolist()
        assert content[name] == pytest.approx(found[name].mean())
    first, second = done.stdout.splitlines()
    assert first == f"test bits_per_dim = {content['bits_per_dim']:.4f} (7 images)"
    assert second == (
        f"test log_likelihood_ratio = {content['log_likelihood_ratio']:.2f} nats "
        f"(background bits_per_dim = {content['background_bits_per_dim']:.4f})"
    )


@pytest.mark.parametrize("name", ["plain", "labelled"])
def test_background_model_scores_the_labels_by_the_names_of_its_classes(
    evaluate, folder, name
):
    done = evaluate(
        f"-o {name} --background_dir=other_order --output_json=b.json", folder
    )
    assert (done.returncode, done.stderr) == (0, "")
    labels = np.arange(NUM_IMAGES) % 3
    ours = nats(folder, name, labels if name == "labelled" else None)
    theirs = nats(folder, "other_order", np.array([1, 2, 0])[labels])
    found = json.loads((folder / "b.json").read_text())[
        "log_likelihood_ratio_per_image"
    ]
    np.testing.assert_allclose(found, ours - theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch_size", [2, 64])  # 64: one of them has no batch.
def test_machines_join_their_ratios(batch_size, evaluate, folder, monkeypatch):
    line = f"-o plain --background_dir=background -b {batch_size} --output_json="
    output = f"--output_dir=joined{batch_size}"
    assert evaluate(f"{line}whole.json", folder).returncode == 0
    for index in (1, 0):
        monkeypatch.setenv("TF_CONFIG", tf_config(["a:1", "b:1"], index))
        done = evaluate(f"{line}joined.json {output}", folder)
        assert done.returncode == 0, done.stderr
        if index == 1:
            other = line.replace("=background", "=plain")
            failed = evaluate(f"{other}joined.json {output}", folder)
            assert (
                failed.returncode == 1
                and "was written with background=" in failed.stderr
            )
    whole, joined = ((folder / f"{n}.json").read_text() for n in ("whole", "joined"))
    assert joined == whole


def test_heat_maps_have_the_bits_less_those_of_the_background(evaluate, folder):
    line = "-o plain --background_dir=background --heatmap --output_dir=maps"
    done = evaluate(line, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "bits per pixel, less the background model's" in done.stdout
    bits = np.load(folder / "maps" / "heatmaps.npz")["bits"]
    expected = nats(folder, "background") - nats(folder, "plain")
    found = bits.sum(axis=(1, 2)) * math.log(2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "name, message",
    [
        ("grey", "it has image_shape=(8, 8, 1), and the other model (8, 8, 3); give"),
        ("levels", "it has num_levels=32, and the other model 256; give a run that"),
        ("density", "it has --likelihood=mix_logistic_continuous, and the scores of"),
    ],
)
def test_background_model_that_does_not_compare_is_rejected(
    evaluate, folder, name, message
):
    done = evaluate(f"-o plain --background_dir={name}", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: --background_dir={name}: {message}")
    assert done.stderr.count("\n") == 1
