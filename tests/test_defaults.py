"""TensorFlow's defaults: XLA optimizes and Grappler rewrites, as in a user's process.

conftest.py turns both off for the other tests.
"""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from command_folder import FIELD, SMALL
from command_lines import own_lines
from conftest import ROOT

pytestmark = pytest.mark.slow
SET_BY_TESTS = ("TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES")


def run_as_user(command, folder):
    """Runs Python with the environment of a user; returns stdout."""
    env = {k: v for k, v in os.environ.items() if k not in SET_BY_TESTS}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_golden_tests_pass_with_the_defaults(tmp_path):
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "--noconftest"]
    folder = f"--basetemp={tmp_path / 'golden'}"
    path = ROOT / "tests" / "test_golden.py"
    printed = run_as_user(["-m", "pytest", *options, folder, path], ROOT)
    passed = printed.split()[0]
    assert set(passed) == {"."} and len(passed) > 10  # None is skipped.


@pytest.fixture(scope="module")
def folder(command_folder):
    """A run of train.py, evaluated, in `defaults`. The golden tests above run the
    official topology."""
    line = f"{SMALL} {FIELD} -o defaults -p 0 -ns 0 --max_steps=3 --log_interval=1"
    run_as_user([ROOT / "train.py", *line.split()], command_folder)
    line = "-o defaults -ns 6 --output_dir=defaults -s 2 --output_json=defaults.json"
    run_as_user([ROOT / "evaluate.py", *line.split()], command_folder)
    return command_folder


def test_train_py_comes_to_the_losses_of_the_tests_process(folder):
    from command_lines import run

    line = f"{SMALL} {FIELD} -o beside -p 0 -ns 0 --max_steps=3 --log_interval=1"
    done = run("train.py", line, folder)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    ours, theirs = [
        list(csv.DictReader((folder / name / "metrics.csv").read_text().splitlines()))
        for name in ("defaults", "beside")
    ]
    for a, b in zip(ours, theirs, strict=True):
        for column in ("train_bits_per_dim", "test_bits_per_dim"):
            found, expected = float(a[column] or 0), float(b[column] or 0)
            assert found == pytest.approx(expected, rel=1e-4), (a["step"], column)


def test_evaluate_py_gives_the_scores_and_samples_of_the_tests_process(folder):
    from pixel_cnn_pp import checkpoint

    model, _ = checkpoint.load_model(str(folder / "defaults"))
    with np.load(folder / "labelled.npz") as file:
        images = file["test_images"]
    bits = -model.log_prob(images).numpy() / (np.log(2) * 8 * 8 * 3)
    scores = json.loads((folder / "defaults.json").read_text())
    np.testing.assert_allclose(scores["bits_per_dim_per_image"], bits, rtol=1e-5)
    with np.load(folder / "defaults" / "samples.npz") as file:
        samples = file["images"]
    ours = model.sample(6, seed=(2, 0)).numpy()
    # A rounding error may move a sub-pixel, and those after it, to another value.
    assert np.mean(samples == ours) > 0.9
