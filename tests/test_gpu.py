"""What training needs on a GPU, as far as it shows without one."""

import os

import numpy as np
import pytest
import tensorflow as tf
from gpu_placement import Placement
from small_runs import SMALL

from pixel_cnn_pp import distribution
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training.state import TrainState
from pixel_cnn_pp.training.step import TrainStep


def placed(**settings):
    config = Config.of(**(SMALL | {"field": "11x5", "dropout_p": 0.5} | settings))
    state = TrainState(config)
    step = TrainStep(state, config, tf.distribute.get_strategy())
    batch = {"image": tf.zeros([4 * config.accumulate, 8, 8, 3], tf.uint8)}
    if config.model.num_labels:
        batch["label"] = tf.zeros([4 * config.accumulate], tf.int32)
    function = step.compiled.get_concrete_function(batch, tf.constant(0.0))
    of_replicas = set(state.sums)
    on_host = [v for name, v in state.counters.items() if name not in of_replicas]
    return Placement(function, on_host)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"jit_compile": False, "accumulate": 2, "remat": True},
        {"jit_compile": True, "precision": "mixed_bfloat16", "num_labels": 3},
        {"jit_compile": False, "energy_distance": True, "batch_size": 4},
    ],
    ids=str,
)
def test_no_operation_of_a_step_lacks_a_gpu_kernel_or_makes_a_gpu_wait(settings):
    step = placed(**settings)
    assert step.without_kernel == []
    assert step.copies == []


def test_placement_finds_an_operation_without_gpu_kernel_and_a_copy_to_the_host():
    @tf.function
    def function(x):
        parts = tf.split(tf.cast(x, tf.uint64), 2)
        with tf.device("CPU:0"):
            return parts[0], tf.exp(x)

    found = Placement(function.get_concrete_function(tf.zeros([2])), [])
    assert [name.split()[0] for name in found.without_kernel] == ["Split"]
    assert [name.split(" → ")[1].split()[0] for name in found.copies] == [
        "Split",
        "Exp",
    ]
