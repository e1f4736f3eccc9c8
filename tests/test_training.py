"""The train step on one and two replicas, dropout, stopping and going on."""

import csv
import os
import re

import numpy as np
import pytest
import tensorflow as tf

import data
from pixel_cnn_pp import checkpoint, polyak, train_step, training
from pixel_cnn_pp.config import Config

SMALL = {
    "image_shape": (8, 8, 3),
    "nr_resnet": 1,
    "nr_filters": 4,
    "nr_logistic_mix": 2,
    "batch_size": 4,
    "num_samples": 0,
    "log_interval": 3,
    "nr_gpu": 1,
}


def random_batch(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)


def arrays(variables):
    return {name: variable.numpy() for name, variable in variables.items()}


def steps_on(replicas, batch_size, dropout_p, images, steps=3):
    """State after some steps on the same 16 images."""
    changes = {"nr_gpu": replicas, "batch_size": batch_size, "dropout_p": dropout_p}
    config = Config(**(SMALL | changes))
    strategy = training.make_strategy(config.nr_gpu)
    assert strategy.num_replicas_in_sync == replicas
    with strategy.scope():
        state = train_step.TrainState(config)
        state.model.initialize((images.astype(np.float32) - 127.5) / 127.5)
        polyak.start(state.averages, state.parameters)
        step = train_step.make_train_step(state, config)
        examples = tf.data.Dataset.from_tensor_slices({"image": images})
        batches = strategy.experimental_distribute_dataset(
            examples.repeat(steps).batch(16)
        )
        losses = [float(step(batch)) for batch in batches]
    return state, losses


def test_two_replicas_of_8_images_make_the_update_of_one_of_16():
    images = random_batch(16)
    one, losses_of_one = steps_on(1, 16, 0.0, images)
    two, losses_of_two = steps_on(2, 8, 0.0, images)
    np.testing.assert_allclose(losses_of_two, losses_of_one, rtol=1e-6)
    for group in ("parameters", "averages", "adam_v"):
        ones, twos = (arrays(state.groups()[group]) for state in (one, two))
        for name in ones:
            error = np.linalg.norm(twos[name] - ones[name])
            assert error <= 2e-4 * np.linalg.norm(ones[name]) + 1e-7, (group, name)


def test_replicas_hold_the_same_parameters_and_averages_after_training():
    state, _ = steps_on(2, 8, 0.5, random_batch(16))
    for group in ("parameters", "averages", "adam_v", "adam_mg"):
        for name, variable in state.groups()[group].items():
            copies = variable.values
            assert len(copies) == 2
            np.testing.assert_array_equal(copies[0], copies[1], err_msg=name)


def test_dropout_masks_differ_between_replicas_and_steps_and_repeat_with_the_seed():
    images = np.repeat(random_batch(1), 16, axis=0)
    masks = []
    strategy = training.make_strategy(2)
    with strategy.scope():
        config = Config(**(SMALL | {"nr_gpu": 2, "batch_size": 8, "dropout_p": 0.5}))
        state = train_step.TrainState(config)
        step = train_step.make_train_step(state, config)
        seen = train_step.noise.keep_mask

        def record(shape, p, seed):
            mask = seen(shape, p, seed)
            tf.py_function(lambda m: masks.append(m.numpy().tobytes()), [mask], [])
            return mask

        train_step.noise.keep_mask = record
        try:
            dataset = tf.data.Dataset.from_tensors({"image": images}).unbatch()
            batches = dataset.repeat(2).batch(16)
            for batch in strategy.experimental_distribute_dataset(batches):
                step(batch)
        finally:
            train_step.noise.keep_mask = seen
    # Blocks × replicas × steps: no two alike.
    blocks = sum(b.kind == "gated_resnet" for b in state.model.topology)
    assert len(masks) == blocks * 2 * 2
    assert len(set(masks)) == len(masks)


def test_same_seed_repeats_a_run_with_dropout_and_another_does_not():
    first, losses = steps_on(1, 16, 0.5, random_batch(16))
    again, same = steps_on(1, 16, 0.5, random_batch(16))
    assert losses == same
    for name, value in arrays(first.parameters).items():
        np.testing.assert_array_equal(value, again.parameters[name])


def run(npz_path, save_dir, load_params=False, **changes):
    config = Config(**(SMALL | {"dropout_p": 0.5, "init_batch_size": 8} | changes))
    splits = [
        data.load("npz", npz_path, split, labels=config.class_conditional)
        for split in ("train", "test")
    ]
    loop = training.prepare(config, *splits, str(save_dir), load_params)
    loop.run()
    return loop.state


def rows(save_dir, column=None):
    with open(save_dir / "metrics.csv", newline="") as file:
        found = list(csv.DictReader(file))
    return [row[column] for row in found] if column else found


@pytest.fixture(scope="module", params=[1, 2])
def never_stopped(request, npz_path, tmp_path_factory):
    """Settings, folder and state of a class-conditional run of 17 steps."""
    settings = {"nr_gpu": request.param, "num_labels": 3, "class_conditional": True}
    folder = tmp_path_factory.mktemp("whole")
    return settings, folder, run(npz_path, folder, max_steps=17, **settings)


@pytest.mark.parametrize("stop", [4, 10])
def test_run_stopped_and_gone_on_with_is_the_run_never_stopped_bit_for_bit(
    never_stopped, npz_path, tmp_path, stop
):
    # 40 images in batches of 4: an epoch is 10 steps on one replica and 5 on two, so
    # step 10 ends one and step 4 lies within one.
    settings, folder, whole = never_stopped
    run(npz_path, tmp_path, max_steps=stop, **settings)
    parts = run(npz_path, tmp_path, True, max_steps=17, **settings)
    for group, variables in whole.groups().items():
        for name, value in arrays(variables).items():
            np.testing.assert_array_equal(value, parts.groups()[group][name], name)

    def facts(save_dir):
        """All rows but the test row of a stop within an epoch; speeds left out."""
        found = [tuple(row.values())[:5] for row in rows(save_dir)]
        return [row for row in found if row[0] != "4"]

    assert facts(tmp_path) == facts(folder)


def test_metrics_have_a_row_every_interval_and_every_epoch_with_the_test_figure(
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
    nats = state.averaged.log_prob(images).numpy()
    expected = -nats.mean() / (np.log(2) * 8 * 8 * 3)
    assert float(tested[-1]["test_bits_per_dim"]) == pytest.approx(expected, rel=1e-6)
    assert [step for step, _ in checkpoint.list_checkpoints(tmp_path)] == [20, 10]


def test_checkpoint_of_two_replicas_goes_on_on_one_and_the_other_way_round(
    npz_path, tmp_path
):
    settings = {"dropout_p": 0.0}
    whole = run(npz_path, tmp_path / "whole", max_steps=12, **settings)
    run(npz_path, tmp_path / "parts", max_steps=4, **settings)
    two = {"nr_gpu": 2, "batch_size": 2}
    run(npz_path, tmp_path / "parts", True, max_steps=8, **settings, **two)
    parts = run(npz_path, tmp_path / "parts", True, max_steps=12, **settings)
    assert parts.count("epoch") == 1 and parts.count("position") == 8
    for name, value in arrays(whole.parameters).items():
        error = np.linalg.norm(parts.parameters[name].numpy() - value)
        assert error <= 1e-3 * np.linalg.norm(value) + 1e-6, name


def test_save_steps_writes_checkpoints_within_the_epoch(npz_path, tmp_path):
    run(npz_path, tmp_path, max_steps=9, save_steps=4)
    steps = [step for step, _ in checkpoint.list_checkpoints(tmp_path)]
    assert steps == [9, 8]


def test_samples_are_drawn_with_the_checkpoint_as_png_and_npz(npz_path, tmp_path):
    run(npz_path, tmp_path, max_steps=2, num_samples=1)
    with np.load(tmp_path / "samples" / "step-0000002.npz") as file:
        assert file["images"].shape == (4, 8, 8, 3)
        assert file["images"].dtype == np.uint8
    png = tf.io.decode_png((tmp_path / "samples" / "step-0000002.png").read_bytes())
    assert png.shape == (2 * 9 + 1, 2 * 9 + 1, 3)


def test_energy_distance_run_trains_reports_its_distance_and_draws(npz_path, tmp_path):
    run(npz_path, tmp_path, max_steps=10, energy_distance=True, num_samples=1)
    figures = [float(row["train_energy_distance"]) for row in rows(tmp_path)]
    assert np.isfinite(figures).all()
    assert float(rows(tmp_path)[-1]["test_energy_distance"]) > 0
    assert (tmp_path / "samples" / "step-0000010.png").exists()


def test_averages_of_a_run_start_after_the_data_dependent_initialisation(npz_path):
    config = Config(**(SMALL | {"dropout_p": 0.0, "init_batch_size": 40}))
    train = data.load("npz", npz_path, "train")
    state = train_step.TrainState(config)
    before = arrays(state.parameters)
    training.initialize(state, config, train)
    after = arrays(state.parameters)
    assert (after["conv2d_0/g"] != before["conv2d_0/g"]).all()
    for name, value in after.items():
        np.testing.assert_array_equal(state.averages[name], value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"batch_size": 41}, "--batch_size=41"),
        ({"init_batch_size": 41}, "--init_batch_size=41"),
        ({"nr_gpu": 3}, "--nr_gpu=3"),
    ],
)
def test_settings_that_do_not_fit_the_images_or_devices_are_refused(
    npz_path, tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        run(npz_path, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_used_folder_is_refused_without_load_params_and_an_empty_one_with_it(
    npz_path, tmp_path
):
    with pytest.raises(ValueError, match="holds no run"):
        run(npz_path, tmp_path, True, max_steps=1)
    run(npz_path, tmp_path, max_steps=1)
    with pytest.raises(ValueError, match="holds a run"):
        run(npz_path, tmp_path, max_steps=1)
    with pytest.raises(ValueError, match="--nr_filters=9: the run .* has 4"):
        run(npz_path, tmp_path, True, max_steps=2, nr_filters=9)


def test_folder_that_cannot_be_written_to_is_refused_before_anything_is_made(
    npz_path, tmp_path, monkeypatch
):
    # By what the system says, as permissions do not bind a superuser.
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(tmp_path))
    message = f"--save_dir={tmp_path}/a/b: {tmp_path} is no folder that can be written"
    with pytest.raises(ValueError, match=re.escape(message)):
        run(npz_path, tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
