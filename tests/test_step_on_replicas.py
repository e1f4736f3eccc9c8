"""The train step on two replicas, with its options in pairs."""

import numpy as np
import pytest
import tensorflow as tf
from small_runs import SMALL, random_batch

from pixel_cnn_pp import distribution
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.likelihood import EnergyDistance
from pixel_cnn_pp.training.state import TrainState
from pixel_cnn_pp.training.step import TrainStep, global_norm

SMALLEST = {"field": "11x5", "nr_filters": 2, "nr_logistic_mix": 1, "dropout_p": 0.0}
OPTIONS = [
    "jit_compile",
    "remat",
    "precision",
    "accumulate",
    "num_labels",
    "energy_distance",
]
EXACT, ROUNDED = "float32", "mixed_bfloat16"
IMAGES = random_batch(16)[:, :4, :4]


def snapshot(state):
    return {
        (group, name): variable.numpy()
        for group, variables in state.groups().items()
        for name, variable in variables.items()
    }


def two_steps(replicas, options):
    """The state after two steps on the same images, all variables before and after the
    second, and after it is done again from those before it."""
    size = len(IMAGES) // replicas // options["accumulate"]
    options = options | {"image_shape": (4, 4, 3), "nr_gpu": replicas}
    config = Config.of(**(SMALL | SMALLEST | options | {"batch_size": size}))
    strategy = distribution.make_strategy(replicas)
    state = TrainState(config, strategy)
    images = {"image": IMAGES}
    if config.model.num_labels is not None:
        images["label"] = np.arange(16, dtype=np.int32) % config.model.num_labels
    dataset = tf.data.Dataset.from_tensors(images).unbatch().batch(16)
    with strategy.scope():
        step = TrainStep(state, config, strategy)
        (batch,) = distribution.distribute(dataset, strategy)
        step(batch)
        first = snapshot(state)
        step(batch)
        second = snapshot(state)
        for (group, name), value in first.items():
            state.groups()[group][name].assign(value)
        step(batch)
    return state, second, snapshot(state)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    # Any two values of two options are together in one of these.
    [
        (None, False, ROUNDED, 2, None, True),
        (None, True, EXACT, 1, 3, False),
        (True, False, EXACT, 2, 3, True),
        (True, True, ROUNDED, 1, None, False),
        (False, False, ROUNDED, 1, 3, True),
        (False, True, EXACT, 2, None, False),
    ],
    ids=str,
)
def test_two_replicas_make_the_plain_step_of_one_and_repeat_it(options, monkeypatch):
    # XLA compiles the distances of ten samples, of each to each, for long.
    monkeypatch.setattr(EnergyDistance, "num_samples", 2)
    options = dict(zip(OPTIONS, options, strict=True))
    two, second, again = two_steps(2, options)
    for (group, name), value in second.items():
        np.testing.assert_array_equal(again[group, name], value, name)
    for variable in [*two.parameters.values(), *two.ema_parameters.values()]:
        np.testing.assert_array_equal(*variable.values)
    if options["energy_distance"]:
        return  # Its noise differs between replicas, so that they do another step.
    plain = options | {"jit_compile": False, "remat": False}
    _, expected, _ = two_steps(1, plain)
    limit = 1e-3 if options["precision"] == EXACT else 5e-2
    for name in two.adam.v:
        ours, theirs = second["adam_v", name], expected["adam_v", name]
        error = np.linalg.norm(ours - theirs)
        assert error <= limit * np.linalg.norm(theirs) + 1e-6, name


def test_norm_of_all_gradients_is_the_root_of_the_sum_of_squares():
    tensors = [tf.fill([2, 2], 1.0), tf.fill([3], 2.0), tf.fill([2, 2], 3.0)]
    assert global_norm(tensors).numpy() == pytest.approx(np.sqrt(4 + 12 + 36))
