"""Validation images: which they are, in training, resuming, evaluation and plots."""

import json
import shutil

import command_lines
import numpy as np
import pytest
from command_folder import FIELD, SMALL
from small_runs import rows
from test_data_order import NUM, indices, numbered  # noqa: F401 A fixture.

import data
from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.evaluation import evaluator

pytestmark = pytest.mark.slow

LINE = f"{SMALL} {FIELD} -x 1 -g 1 -ns 0 -s 5 --nojit_compile --validation_share=0.25"


def test_parts_are_those_of_a_permutation_of_the_seed_and_hold_each_image_once(
    numbered,  # noqa: F811
):
    train, validation = data.divide(numbered, 0.1, seed=5)
    expected = np.random.default_rng([5, 0, 1]).permutation(NUM)
    assert indices(validation) == sorted(expected[:15])
    assert indices(train) == sorted(expected[15:])
    assert (train.num_images, validation.num_images) == (135, 15)
    assert list(validation.names()) == [str(i) for i in sorted(expected[:15])]


def test_another_seed_keeps_other_images_apart(numbered):  # noqa: F811
    parts = [data.divide(numbered, 0.1, seed)[1] for seed in (5, 6)]
    assert indices(parts[0]) != indices(parts[1])


def test_order_of_an_epoch_is_that_of_as_many_images(numbered):  # noqa: F811
    train, _ = data.divide(numbered, 0.1, seed=5)
    order = np.random.default_rng([7, 3]).permutation(135)
    in_order = np.array(indices(train))[order].tolist()
    assert indices(train, 3, 7) == in_order
    assert indices(train, 3, 7, start=70) == in_order[70:]


@pytest.mark.parametrize(
    "share, text",
    [
        (0.003, "it leaves none for validation; give from 0.0067 to 0.99"),
        (0.999, "it leaves none for training"),
    ],
)
def test_share_that_leaves_no_image_is_rejected(numbered, share, text):  # noqa: F811
    with pytest.raises(ValueError, match=f"--validation_share={share}: .* {text}"):
        data.divide(numbered, share, 1)


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
def test_share_below_0_or_from_1_on_is_rejected_in_one_line(command_folder, share):
    line = f"{SMALL} -o no_run --validation_share={share}"
    done = command_lines.run("train.py", line, command_folder)
    assert done.stderr == (
        f"error: --validation_share={share}: must be 0 (none) or more and less than 1, "
        "for example 0.05.\n"
    )


@pytest.fixture(scope="module")
def validated(command_folder):
    """A run that keeps 10 of 40 images apart; its test images cannot be read."""
    with np.load(command_folder / "labelled.npz") as file:
        arrays = {name: file[name] for name in file.files}
    only_train = {"train_images": arrays["train_images"]}
    np.savez(command_folder / "only_train.npz", **only_train)
    line = f"{LINE} -i only_train.npz -o validated"
    done = command_lines.run("train.py", line, command_folder)
    assert done.returncode == 0, done.stderr
    assert "30 training and 10 validation images" in done.stdout
    return arrays["train_images"], done.stdout


def test_run_scores_the_validation_images_and_never_reads_the_test_images(
    command_folder, validated
):
    images, stdout = validated
    found = rows(command_folder / "validated")
    assert list(found[0])[3] == "validation_bits_per_dim"
    assert found[-1]["step"] == "7"  # 30 images in batches of 4.
    assert f"validation {float(found[-1]['validation_bits_per_dim']):.4f}" in stdout
    model, config = checkpoint.load_model(str(command_folder / "validated"))
    assert (config.validation_share, config.num_images) == (0.25, 30)
    held_out = np.random.default_rng([5, 0, 1]).permutation(40)[:10]
    nats = -model.log_prob(images[np.sort(held_out)]).numpy()
    expected = np.mean(nats) / np.log(2) / (8 * 8 * 3)
    assert float(found[-1]["validation_bits_per_dim"]) == pytest.approx(expected, 1e-5)


def test_evaluate_scores_either_part(command_folder, validated):
    images, _ = validated
    line = "-o validated --output_json=part.json --scores_csv=part.csv --split="
    order = np.random.default_rng([5, 0, 1]).permutation(40)
    model, _ = checkpoint.load_model(str(command_folder / "validated"))
    for split, part in (("validation", order[:10]), ("train", order[10:])):
        done = command_lines.run("evaluate.py", line + split, command_folder)
        assert done.stdout.startswith(f"{split} bits_per_dim = "), done.stderr
        found = json.loads((command_folder / "part.json").read_text())
        nats = -model.log_prob(images[np.sort(part)]).numpy().astype(np.float64)
        bits = evaluator.bits_per_dim(nats, (8, 8, 3))
        np.testing.assert_allclose(found["bits_per_dim_per_image"], bits, 1e-5)
        names = [line.split(",")[0] for line in open(command_folder / "part.csv")]
        assert names[1:] == [str(i) for i in np.sort(part)]


def test_resumed_run_has_the_same_parts_and_rejects_another_share(
    command_folder, validated
):
    line = "-r -o validated -x 2 --nojit_compile"
    wrong = f"{line} --validation_share=0.5"
    done = command_lines.run("train.py", wrong, command_folder)
    assert "--validation_share=0.5: the run in this --save_dir has" in done.stderr
    assert done.stderr.count("\n") == 1
    done = command_lines.run("train.py", line, command_folder)
    assert "30 training and 10 validation images" in done.stdout, done.stderr
    assert rows(command_folder / "validated")[-1]["step"] == "14"


def test_parts_of_the_run_s_images_are_known_in_another_place(
    command_folder, validated, tmp_path
):
    copy = shutil.copy(command_folder / "only_train.npz", tmp_path / "copy.npz")
    (tmp_path / "link.npz").symlink_to(command_folder / "only_train.npz")
    found = [
        command_lines.run(
            "evaluate.py", f"-o validated --split=validation -i {path}", command_folder
        )
        for path in ("only_train.npz", copy, tmp_path / "link.npz")
    ]
    assert [done.stderr for done in found] == [""] * 3
    assert "(10 images)" in found[0].stdout
    assert len({done.stdout for done in found}) == 1


@pytest.mark.parametrize(
    "line, text",
    [
        (
            "-o validated -i unlabelled.npz --split=validation",
            "held out no part of these",
        ),
        (
            "-o validated -d shapes --split=validation",
            "held out no part of these images",
        ),
    ],
)
def test_images_that_the_run_did_not_divide_have_no_validation_part(
    command_folder, validated, line, text
):
    done = command_lines.run("evaluate.py", line, command_folder)
    assert done.stderr.startswith("error: --split=validation: ") and text in done.stderr
    assert done.stderr.count("\n") == 1


def test_changed_images_have_no_known_validation_part(command_folder, validated):
    images, _ = validated
    path = command_folder / "only_train.npz"
    np.savez(path, train_images=images[:39])
    line = "-o validated --split=validation"
    done = command_lines.run("evaluate.py", line, command_folder)
    np.savez(path, train_images=images)
    assert "of 39 training images the run would train on 29" in done.stderr


@pytest.mark.parametrize("split", ["train", "validation"])
def test_other_images_of_the_same_number_have_no_known_part(
    command_folder, validated, split
):
    images, _ = validated
    path = command_folder / "only_train.npz"
    np.savez(path, train_images=images[::-1])
    line = f"-o validated --split={split}"
    done = command_lines.run("evaluate.py", line, command_folder)
    np.savez(path, train_images=images)
    assert done.stderr.startswith(f"error: --split={split}: the images in --data_dir, ")
    assert done.stderr.count("\n") == 1
