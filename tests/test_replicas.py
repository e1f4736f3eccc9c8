"""The train step on one replica and on several, and dropout on each."""

import numpy as np
import pytest
import tensorflow as tf
from small_runs import SMALL, arrays, random_batch, rows, run, steps_on

from pixel_cnn_pp import distribution, prng
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training.state import TrainState
from pixel_cnn_pp.training.step import TrainStep

pytestmark = pytest.mark.slow

# Eight graphs of the official topology take minutes to build.
SMALLEST = {"field": "11x5", "nr_filters": 2, "nr_logistic_mix": 1}


@pytest.mark.parametrize(
    "replicas, model", [(2, SMALLEST), (8, SMALLEST | {"jit_compile": False})]
)
def test_replicas_make_the_update_that_one_makes_of_all_their_images(
    replicas, model, with_xla
):
    images = random_batch(16)
    one, losses_of_one = steps_on(1, 16, 0.0, images, **model)
    several, losses_of_several = steps_on(
        replicas, 16 // replicas, 0.0, images, **model
    )
    np.testing.assert_allclose(losses_of_several, losses_of_one, rtol=1e-6)
    for variable in several.ema_parameters.values():
        for copy in variable.values[1:]:
            np.testing.assert_array_equal(copy, variable.values[0])
    for group in ("parameters", "averages", "adam_v"):
        ones, twos = (arrays(state.groups()[group]) for state in (one, several))
        for name in ones:
            error = np.linalg.norm(twos[name] - ones[name])
            assert error <= 2e-4 * np.linalg.norm(ones[name]) + 1e-7, (group, name)


@pytest.fixture(scope="module")
def steps_with_dropout():
    """The state of two replicas after two steps on sixteen images that are all the
    same, and the masks of dropout."""
    images = np.repeat(random_batch(1), 16, axis=0)
    masks = []
    strategy = distribution.make_strategy(2)
    changes = {"nr_gpu": 2, "batch_size": 8, "dropout_p": 0.5}
    config = Config.of(**(SMALL | SMALLEST | changes))
    state = TrainState(config, strategy)
    keep_mask = prng.keep_mask

    def record(shape, p, seed):
        mask = keep_mask(shape, p, seed)
        tf.py_function(lambda m: masks.append(m.numpy().tobytes()), [mask], [])
        return mask

    with strategy.scope(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(prng, "keep_mask", record)
        step = TrainStep(state, config, strategy)
        dataset = tf.data.Dataset.from_tensors({"image": images}).unbatch()
        for batch in distribution.distribute(dataset.repeat(2).batch(16), strategy):
            step(batch)
    return state, masks


def test_replicas_hold_the_same_parameters_after_steps_with_dropout(steps_with_dropout):
    state, _ = steps_with_dropout
    for group in ("parameters", "averages", "adam_v", "adam_mg"):
        for name, variable in state.groups()[group].items():
            copies = variable.values
            assert len(copies) == 2
            np.testing.assert_array_equal(copies[0], copies[1], err_msg=name)


def test_dropout_masks_differ_between_replicas_and_steps(steps_with_dropout):
    state, masks = steps_with_dropout
    # Blocks × replicas × steps: no two alike.
    blocks = sum(b.kind == "gated_resnet" for b in state.model.topology)
    assert len(masks) == blocks * 2 * 2
    assert len(set(masks)) == len(masks)


def test_checkpoint_of_two_replicas_resumes_on_one_and_the_other_way_round(
    npz_path, tmp_path
):
    # 40 images, 8 a step: the sixth step is the first of the second epoch.
    settings = {"dropout_p": 0.0, "batch_size": 8, "jit_compile": False} | SMALLEST
    whole = run(npz_path, tmp_path / "whole", max_steps=6, **settings)
    run(npz_path, tmp_path / "parts", max_steps=2, **settings)
    two = settings | {"nr_gpu": 2, "batch_size": 4}
    run(npz_path, tmp_path / "parts", True, max_steps=4, **two)
    parts = run(npz_path, tmp_path / "parts", True, max_steps=6, **settings)
    assert parts.count("epoch") == 1 and parts.count("position") == 8
    # 11 test images, of which each counts once however many the replicas take.
    tested = {}
    for name in ("whole", "parts"):
        found = rows(tmp_path / name)
        (row,) = (r for r in found if r["step"] == "5" and r["test_bits_per_dim"])
        tested[name] = float(row["test_bits_per_dim"])
    assert tested["parts"] == pytest.approx(tested["whole"], rel=1e-4)
    for name, value in arrays(whole.parameters).items():
        error = np.linalg.norm(parts.parameters[name].numpy() - value)
        assert error <= 1e-3 * np.linalg.norm(value) + 1e-6, name
