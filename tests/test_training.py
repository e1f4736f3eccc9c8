"""What a run writes, and what it rejects."""

import ctypes
import gc
import itertools
import os
import re
import types

import numpy as np
import pytest
import tensorflow as tf
from small_runs import SMALL, arrays, rows, run

import data
from pixel_cnn_pp import checkpoint, distribution
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.likelihood import EnergyDistance
from pixel_cnn_pp.training import loop, metrics
from pixel_cnn_pp.training import run as training
from pixel_cnn_pp.training.state import TrainState

pytestmark = pytest.mark.slow


def test_metrics_have_a_row_every_interval_and_every_epoch_with_the_test_result(
    npz_path, tmp_path
):
    state = run(npz_path, tmp_path, max_epochs=2, save_interval=5)
    assert rows(tmp_path, "step") == ["3", "6", "9", "10", "12", "15", "18", "20"]
    tested = [row for row in rows(tmp_path) if row["test_bits_per_dim"]]
    assert [row["step"] for row in tested] == ["10", "20"]
    assert [row["epoch"] for row in tested] == ["0", "1"]
    assert all(row["images_per_sec"] for row in rows(tmp_path) if row not in tested)
    test = data.load("npz", npz_path, "test")
    images = np.stack([e["image"].numpy() for e in test.examples()])
    nats = state.ema_model.log_prob(images).numpy()
    expected = -nats.mean() / (np.log(2) * 8 * 8 * 3)
    assert float(tested[-1]["test_bits_per_dim"]) == pytest.approx(expected, rel=1e-6)
    assert [step for step, _ in checkpoint.list_checkpoints(tmp_path)] == [20, 10]


def test_checkpoints_within_the_epoch_and_samples_as_png_and_npz_at_the_end(
    npz_path, tmp_path
):
    run(npz_path, tmp_path, max_steps=9, save_steps=4, num_samples=1)
    steps = [step for step, _ in checkpoint.list_checkpoints(tmp_path)]
    assert steps == [9, 8]
    with np.load(tmp_path / "samples" / "step-0000009.npz") as file:
        assert file["images"].shape == (4, 8, 8, 3)
        assert file["images"].dtype == np.uint8
    png = tf.io.decode_png((tmp_path / "samples" / "step-0000009.png").read_bytes())
    # 8 pixels become 128, to be seen.
    assert png.shape == (16 * (2 * 9 + 1), 16 * (2 * 9 + 1), 3)


def test_save_minutes_writes_checkpoints_within_the_epoch(
    npz_path, tmp_path, monkeypatch
):
    # A clock that goes on by ten minutes whenever it is read: once as the run begins,
    # once a step, once as a checkpoint is made.
    minutes = itertools.count(0, 10)
    clock = types.SimpleNamespace(monotonic=lambda: 60 * next(minutes))
    monkeypatch.setattr(loop, "time", clock)
    run(npz_path, tmp_path, max_steps=8, save_interval=9)
    steps = [step for step, _ in checkpoint.list_checkpoints(tmp_path)]
    assert steps == [8, 6]


def test_save_steps_at_the_end_of_an_epoch_saves_the_epoch_as_done(npz_path, tmp_path):
    # Killed in the next epoch, the run resumes there and writes no row twice.
    run(npz_path, tmp_path, max_steps=20, save_steps=5, save_interval=9)
    kept = tmp_path / checkpoint.FOLDER
    assert sorted(p.name for p in kept.glob("*.index")) == [
        "ckpt-15.index",
        "ckpt-20.index",
    ]
    for path in kept.glob("ckpt-20*"):
        path.unlink()
    whole = [row["step"] for row in rows(tmp_path)]
    run(npz_path, tmp_path, True, max_steps=20, save_steps=5, save_interval=9)
    assert [row["step"] for row in rows(tmp_path)] == whole
    assert whole.count("10") == 1


def test_steps_that_are_left_are_counted_from_within_an_epoch(
    npz_path, tmp_path, capsys
):
    run(npz_path, tmp_path, max_steps=3)
    run(npz_path, tmp_path, True, max_epochs=1)
    assert "step 10/10  epoch 0" in capsys.readouterr().out


def test_energy_distance_run_trains_reports_its_distance_and_samples(
    npz_path, tmp_path, monkeypatch
):
    monkeypatch.setattr(EnergyDistance, "num_samples", 2)
    run(npz_path, tmp_path, max_steps=10, energy_distance=True, num_samples=1)
    figures = [float(row["train_energy_distance"]) for row in rows(tmp_path)]
    assert np.isfinite(figures).all()
    assert float(rows(tmp_path)[-1]["test_energy_distance"]) > 0
    assert (tmp_path / "samples" / "step-0000010.png").exists()


def test_ema_of_a_run_starts_after_the_data_dependent_initialisation(npz_path):
    config = Config.of(**(SMALL | {"dropout_p": 0.0, "init_batch_size": 40}))
    train = data.load("npz", npz_path, "train")
    state = TrainState(config, tf.distribute.get_strategy())
    before = arrays(state.parameters)
    training.initialize(state, config, train)
    after = arrays(state.parameters)
    assert (after["conv2d_0/g"] != before["conv2d_0/g"]).all()
    for name, value in after.items():
        np.testing.assert_array_equal(state.ema_parameters[name], value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"batch_size": 41}, "--batch_size=41"),
        ({"init_batch_size": 41}, "--init_batch_size=41"),
        ({"nr_gpu": 9}, "--nr_gpu=9"),
    ],
)
def test_settings_that_do_not_fit_the_images_or_devices_are_rejected(
    npz_path, tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        run(npz_path, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_used_folder_is_rejected_without_load_params_and_an_empty_one_with_it(
    npz_path, tmp_path
):
    with pytest.raises(ValueError, match="holds no run"):
        run(npz_path, tmp_path, True, max_steps=1)
    run(npz_path, tmp_path, max_steps=1)
    with pytest.raises(ValueError, match="holds a run"):
        run(npz_path, tmp_path, max_steps=1)
    with pytest.raises(
        ValueError, match="--nr_filters=9: the run .* has --nr_filters=4"
    ):
        run(npz_path, tmp_path, True, max_steps=2, nr_filters=9)
    with pytest.raises(ValueError, match="--seed=9: the run .* has --seed=1"):
        run(npz_path, tmp_path, True, max_steps=2, seed=9)
    message = "--batch_size=8: a step of all replicas takes 8 images, and one .* 4, on"
    with pytest.raises(ValueError, match=message):
        run(npz_path, tmp_path, True, max_steps=2, batch_size=8)


def test_folder_that_cannot_be_written_to_is_rejected_before_anything_is_made(
    npz_path, tmp_path, monkeypatch
):
    # By what the system says, as permissions do not bind a superuser.
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(tmp_path))
    message = f"--save_dir={tmp_path}/a/b: {tmp_path} is no folder that can be written"
    with pytest.raises(ValueError, match=re.escape(message)):
        run(npz_path, tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_over_150_steps(npz_path, tmp_path, monkeypatch):
    pages = {}
    early, late = range(50, 81, 10), range(120, 151, 10)
    step_done = metrics.RunLog.step_done
    give_back = ctypes.CDLL(None).malloc_trim  # What is free, but kept by malloc.

    def count_pages(log):
        step_done(log)
        if log.step in (*early, *late):
            gc.collect()
            give_back(0)
            with open("/proc/self/statm") as file:
                pages[log.step] = int(file.read().split()[1])

    monkeypatch.setattr(metrics.RunLog, "step_done", count_pages)
    # An epoch is 10 steps: 15 evaluations and 3 checkpoints among them.
    run(npz_path, tmp_path, max_steps=150, save_interval=5)
    before, after = (
        np.mean([pages[step] for step in steps]) for steps in (early, late)
    )
    assert (after - before) * os.sysconf("SC_PAGE_SIZE") / 1e6 < 1


@pytest.mark.parametrize("replicas", [1, 4])
def test_replicas_take_a_batch_in_order_and_no_thread_tunes_the_input(
    replicas, monkeypatch
):
    """The end of an epoch would wait for that thread, up to a minute."""
    tunes, iterate = [], tf.data.Dataset.__iter__

    def record(dataset):
        tunes.append(dataset.options().autotune.enabled)
        return iterate(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", record)
    strategy = distribution.make_strategy(replicas)
    batches = tf.data.Dataset.from_tensor_slices({"image": range(16)}).batch(8)
    parts = [
        [part.numpy().tolist() for part in strategy.experimental_local_results(values)]
        for batch in distribution.distribute(batches, strategy)
        for values in batch.values()
    ]
    size = 8 // replicas
    assert parts == [
        [list(range(i, i + size)) for i in range(first, first + 8, size)]
        for first in (0, 8)
    ]
    assert tunes == [False]


@pytest.mark.parametrize(
    "error, is_lost",
    [
        (tf.errors.UnavailableError(None, None, "socket closed"), True),
        (tf.errors.InternalError(None, None, "Collective ops is aborted by: x"), True),
        (tf.errors.InternalError(None, None, "out of registers"), False),
        (tf.errors.UnknownError(None, None, "ReadError: a.png is gone"), False),
    ],
)
def test_only_errors_of_lost_workers_are_taken_for_one(error, is_lost):
    assert distribution.is_of_lost_worker(error) == is_lost
