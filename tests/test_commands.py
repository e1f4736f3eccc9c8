"""train.py, evaluate.py and export.py as users run them: files, lines, results."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from command_folder import GOLDEN, GOLDEN_LABELLED
from command_lines import entry_point, run
from golden import Golden

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.evaluation.evaluator import bits_per_dim

pytestmark = pytest.mark.slow


def test_train_writes_config_checkpoints_metrics_and_samples(trained):
    data, index = "data-00000-of-00001", "index"
    others = ("logs", "lock")
    assert [name for name in trained.contents if not name.startswith(others)] == [
        "checkpoints",
        *(f"checkpoints/ckpt-{n}.{end}" for n in (10, 11) for end in (data, index)),
        "config.json",
        "metrics.csv",
        "samples",
        *(f"samples/step-00000{n}.{end}" for n in (10, 11) for end in ("npz", "png")),
    ]


def test_short_forms_of_the_official_flags_set_what_they_name(trained, command_folder):
    # Those of this run and its images alone.
    own = "fingerprint", "held_out_fingerprint", "run_id"
    own = {name: getattr(Config(), name) for name in own}
    assert dataclasses.replace(trained.config, **own) == Config.of(
        image_shape=(8, 8, 3),
        data_set="npz",
        data_dir=str(command_folder / "labelled.npz"),
        num_images=40,
        images_per_step=4,
        save_interval=3,
        field="11x5",
        nr_filters=4,
        nr_logistic_mix=2,
        resnet_nonlinearity="elu",
        learning_rate=0.002,
        lr_decay=0.9,
        batch_size=4,
        init_batch_size=8,
        dropout_p=0.25,
        max_epochs=7,
        nr_gpu=1,
        polyak_decay=0.9,
        num_samples=1,
        seed=5,
        log_interval=4,
        max_steps=11,
        jit_compile=False,
    )


def test_metrics_have_their_columns_rows_and_the_decayed_learning_rate(trained):
    assert list(trained.rows[0]) == [
        "step",
        "epoch",
        "train_bits_per_dim",
        "test_bits_per_dim",
        "learning_rate",
        "images_per_sec",
    ]
    steps = [(int(row["step"]), int(row["epoch"])) for row in trained.rows]
    assert steps == [(4, 0), (8, 0), (10, 0), (11, 1)]
    tested = [bool(row["test_bits_per_dim"]) for row in trained.rows]
    assert tested == [False, False, True, True]
    for row in trained.rows:
        rate = 0.002 * 0.9 ** int(row["step"])
        assert float(row["learning_rate"]) == pytest.approx(rate, rel=1e-6)
        assert float(row["train_bits_per_dim"]) > 0


def printed_parts(row):
    """What is printed of a row of metrics.csv before the speed."""
    train, test = row["train_bits_per_dim"], row["test_bits_per_dim"]
    parts = [f"step {row['step']}/", f"  epoch {row['epoch']}  "]
    parts += [f"train {float(train):.4f} bits/dim"] if train else []
    parts += [f"test {float(test):.4f} bits/dim"] if test else []
    return parts


def num_parameters(folder):
    """Numbers in the parameters of a run's newest checkpoint."""
    (_, prefix), *_ = checkpoint.list_checkpoints(folder)
    shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    names = [name for name in shapes if name.startswith("parameters/")]
    return sum(math.prod(shapes[name]) for name in names)


def test_train_prints_what_it_trains_each_row_and_where_the_results_are(
    trained, command_folder
):
    *first, row_4, row_8, row_10, row_11, results, one, two = (
        trained.stdout.splitlines()
    )
    assert first == [
        "devices: 1 CPU (TensorFlow finds no GPU)",
        f"data: npz in {command_folder}/labelled.npz, 40 training and 11 test images, "
        "8×8×3",
        "folder: run",
        f"model: {num_parameters(command_folder / 'run'):,} parameters, images 8×8×3, "
        "unconditional",
    ]
    for line, row in zip((row_4, row_8, row_10, row_11), trained.rows, strict=True):
        assert all(part in line for part in printed_parts(row)), line
        assert re.search(r"\d+\.\d images/s", line)
    assert results == "checkpoints, samples and metrics.csv are in run; next:"
    commands = [line.removeprefix("  python ").split() for line in (one, two)]
    assert commands == [[f"{s}.py", "--save_dir=run"] for s in ("evaluate", "sample")]
    for script, *arguments in commands:
        assert entry_point(script).parse(arguments) == ""


def test_class_conditional_run_prints_its_labels(other_runs, command_folder):
    num = num_parameters(command_folder / "labelled")
    assert other_runs["labelled"].stdout.splitlines()[2:5] == [
        "labels: 0 0, 1 1, 2 2",
        "folder: labelled",
        f"model: {num:,} parameters, images 8×8×3, 3 labels",
    ]


def test_resumed_run_prints_every_row(resumed):
    lines = [line for line in resumed.stdout.splitlines() if line.startswith("step ")]
    new = [row for row in resumed.rows if int(row["step"]) > 11]
    assert [row["step"] for row in new] == ["12", "13"]
    for line, row in zip(lines, new, strict=True):
        assert all(part in line for part in printed_parts(row)), line


@pytest.mark.parametrize("name", ["run", "labelled"])
def test_samples_in_the_png_are_those_in_the_npz(
    trained, other_runs, command_folder, name
):
    path = command_folder / name / "samples"
    newest = sorted(path.glob("*.npz"))[-1]
    with np.load(newest) as file:
        images = file["images"]
    assert images.shape == (4, 8, 8, 3) and images.dtype == np.uint8
    assert len(np.unique(images)) > 9
    png = tf.io.decode_png(newest.with_suffix(".png").read_bytes())
    # Pixels of 16×16 make 128 of 8.
    grid = image_ops.enlarge(image_ops.tile(images), 16)
    np.testing.assert_array_equal(png, grid)


def test_load_params_resumes_to_a_larger_max_steps(trained, resumed):
    assert "resuming from step 11 with max_steps=13 (was 11)" in resumed.stdout
    assert resumed.rows[:4] == trained.rows
    assert [row["step"] for row in resumed.rows[4:]] == ["12", "13"]
    changes = {"max_steps": 13, "num_samples": 0}
    assert resumed.config == dataclasses.replace(trained.config, **changes)


def test_training_from_an_official_checkpoint_takes_its_size_and_begins_at_its_loss(
    other_runs,
):
    golden, run = Golden("unconditional"), other_runs["official"]
    for name in "nr_resnet nr_filters nr_logistic_mix resnet_nonlinearity".split():
        assert getattr(run.config.model, name) == golden.config[name]
    assert [row["step"] for row in run.rows] == ["6"]
    expected = golden["train_final_loss"] / (np.log(2) * golden["images"].size)
    assert float(run.rows[0]["train_bits_per_dim"]) == pytest.approx(expected, rel=1e-6)


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
