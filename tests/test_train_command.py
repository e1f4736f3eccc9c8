"""train.py as users run it: files, metrics, printed lines, resuming, flags."""

import dataclasses
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from command_folder import RUN
from command_lines import entry_point
from golden import Golden

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config

# Short form and default. On purpose not the official default: data_dir, save_dir and
# nr_gpu.
OFFICIAL_FLAGS = {
    "data_dir": ("i", None),
    "save_dir": ("o", "save"),
    "data_set": ("d", "cifar"),
    "save_interval": ("t", 20),
    "load_params": ("r", False),
    "nr_resnet": ("q", 5),
    "nr_filters": ("n", 160),
    "nr_logistic_mix": ("m", 10),
    "resnet_nonlinearity": ("z", "concat_elu"),
    "class_conditional": ("c", False),
    "energy_distance": ("ed", False),
    "learning_rate": ("l", 0.001),
    "lr_decay": ("e", 0.999995),
    "batch_size": ("b", 16),
    "init_batch_size": ("u", 16),
    "dropout_p": ("p", 0.5),
    "max_epochs": ("x", 5000),
    "nr_gpu": ("g", None),
    "polyak_decay": (None, 0.9995),
    "num_samples": ("ns", 1),
    "seed": ("s", 1),
}


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
    size = ["nr_resnet", "nr_filters", "nr_logistic_mix", "resnet_nonlinearity"]
    for name in size:
        assert getattr(run.config.model, name) == golden.config[name]
    assert [row["step"] for row in run.rows] == ["6"]
    expected = golden["train_final_loss"] / (np.log(2) * golden["images"].size)
    assert float(run.rows[0]["train_bits_per_dim"]) == pytest.approx(expected, rel=1e-6)


def test_official_flags_keep_their_names_short_forms_and_defaults():
    flags = entry_point("train.py").key_flags
    found = {name: flags[name] for name in OFFICIAL_FLAGS}
    assert {
        name: (flag.short_name, flag.default) for name, flag in found.items()
    } == OFFICIAL_FLAGS


def test_line_of_the_run_gives_each_official_flag_with_a_short_form_but_four():
    given = {word[1:] for word in RUN.split() if re.fullmatch("-[a-z]+", word)}
    short = {short for short, _ in OFFICIAL_FLAGS.values() if short}
    assert short - given == {"q", "c", "ed", "r"}
