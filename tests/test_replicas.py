"""The train step on one and two replicas, and dropout on each."""

import numpy as np
import tensorflow as tf
from small_runs import SMALL, arrays, random_batch, run, steps_on

from pixel_cnn_pp import train_step, training
from pixel_cnn_pp.config import Config


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
