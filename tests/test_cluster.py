"""Two workers on the loopback address train as one process does, and come back."""

import os
import time

import numpy as np
import pytest
import tensorflow as tf
from child_processes import Child, run
from conftest import ROOT
from small_runs import rows
from workers import free_addresses, tf_config

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.files import FolderLock

pytestmark = pytest.mark.slow

# 40 images, 8 a step on all devices together.
RUN = (
    "-d npz -n 4 -m 2 -u 8 -p 0 -ns 1 --field=11x5 --log_interval=1 "
    "--save_steps=2 -t 99 --max_steps=20 --max_epochs=99 --nojit_compile"
)


def start_workers(npz_path, save_dir, *flags, second=()):
    """Two processes of train.py, four images a step on each, the second with more
    flags."""
    addresses = free_addresses(2)
    started = []
    for index in range(2):
        started.append(
            Child(
                *(ROOT / "train.py", *RUN.split(), "-b", 4),
                *("-i", npz_path, "-o", save_dir, *flags, *(second if index else ())),
                environment=os.environ | {"TF_CONFIG": tf_config(addresses, index)},
            )
        )
    return started


@pytest.fixture(scope="module")
def run_of_two(npz_path, tmp_path_factory):
    """The folder of a run whose second worker was killed; how the first one ended."""
    folder = tmp_path_factory.mktemp("two") / "run"
    first, second = start_workers(npz_path, folder)
    # The first is that of step 0.
    while not any(step for step, _ in checkpoint.list_checkpoints(folder)):
        assert first.poll() is None and second.poll() is None, first.read("stderr")
        time.sleep(0.1)
    second.kill()
    lost = (*first.communicate(timeout=120), first.returncode)
    second.wait(60)
    reached = checkpoint.list_checkpoints(folder)[0][0]
    again = start_workers(npz_path, folder, "-r")
    ends = [
        (*process.communicate(timeout=240), process.returncode) for process in again
    ]
    return folder, lost, reached, ends


def test_worker_says_that_another_was_lost(run_of_two):
    _, (_, stderr, code), reached, _ = run_of_two
    assert code == 1
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("error: another worker was lost at step")
    assert last.endswith("start all of them again with --resume.")
    assert reached < 20


def test_only_the_first_worker_tells_of_the_run(run_of_two):
    *_, ends = run_of_two
    assert [code for *_, code in ends] == [0, 0], ends
    assert "step 20/20" in ends[0][0]
    assert ends[1][0] == ""


def test_two_workers_killed_and_resumed_equal_the_run_of_one_process(
    run_of_two, npz_path, tmp_path
):
    folder, *_ = run_of_two
    alone = tmp_path / "alone"
    line = [*RUN.split(), "-b", 8, "-i", npz_path, "-o", alone]
    done = run(ROOT / "train.py", *line)
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        tf.train.load_checkpoint(checkpoint.list_checkpoints(run)[0][1])
        for run in (folder, alone)
    )
    for key in ours.get_variable_to_shape_map():
        if key.startswith(("parameters", "averages")):
            value, expected = ours.get_tensor(key), theirs.get_tensor(key)
            error = np.linalg.norm(value - expected)
            assert error <= 5e-2 * np.linalg.norm(expected) + 1e-4, key
    ours, theirs = (
        [list(r.values())[:4] for r in rows(run)] for run in (folder, alone)
    )
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    for columns in (2, 3):
        values = [[float(row[columns] or 0) for row in run] for run in (ours, theirs)]
        np.testing.assert_allclose(*values, rtol=5e-3)


def test_locked_folder_is_named_by_the_first_worker_and_ends_both(run_of_two, npz_path):
    folder, *_ = run_of_two
    with FolderLock(str(folder)):
        ends = [
            (process.communicate(timeout=120)[1].splitlines()[-1], process.returncode)
            for process in start_workers(npz_path, folder, "-r")
        ]
    assert ends == [
        (
            f"error: --save_dir={folder}: process {os.getpid()} writes to it; wait "
            "until it ends, or give another --save_dir.",
            1,
        ),
        (
            "error: another worker was lost before the first step; start all of them "
            "again.",
            1,
        ),
    ]


def test_workers_that_read_different_images_all_say_so(npz_path, tmp_path):
    with np.load(npz_path) as file:
        arrays = dict(file)
    arrays["train_images"] = arrays["train_images"][::-1]
    np.savez(tmp_path / "other.npz", **arrays)
    other = tmp_path / "other.npz"
    started = start_workers(npz_path, tmp_path / "run", second=["-i", other])
    for process, path in zip(started, (npz_path, other), strict=True):
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 1
        assert stderr.splitlines()[-1] == (
            f"error: --data_dir={path}: another worker of TF_CONFIG has other images "
            "there; give all of them the same."
        )
    assert not (tmp_path / "run").exists()


def test_workers_that_have_different_settings_all_say_so(npz_path, tmp_path):
    # What may differ: where the images are, how long to wait.
    second = ["--worker_timeout=599", "--learning_rate=0.1"]
    started = start_workers(npz_path, tmp_path / "run", second=second)
    for process, rate in zip(started, ("0.001", "0.1"), strict=True):
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 1
        line = stderr.splitlines()[-1]
        assert line == (
            f"error: --learning_rate={rate}: another worker of TF_CONFIG has another "
            "value; give all of them the same."
        )
    assert not (tmp_path / "run").exists()
