"""Settings that a traced function reads, changed after it was first called."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from small_models import initialized, random_images

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training.state import TrainState


def test_number_of_dequantizations_takes_effect_after_the_first_call():
    model = initialized((4, 4, 1), likelihood="mix_logistic_continuous", field="11x5")
    images = random_images(3, model)
    eight = model.log_prob(images).numpy()
    model.set_dequantization_draws(1)
    one = model.log_prob(images).numpy()
    assert np.all(one != eight)
    model.set_dequantization_draws(8)
    np.testing.assert_array_equal(model.log_prob(images), eight)


def test_exact_scores_take_no_dequantizations():
    with pytest.raises(ValueError, match="dequantization_draws=3: .* are exact"):
        initialized((4, 4, 1), field="11x5").set_dequantization_draws(3)


@pytest.mark.slow
def test_remat_takes_effect_after_the_first_call(monkeypatch):
    model = initialized((4, 4, 1), field="11x5")
    images = random_images(2, model)
    parameters = list(model.tf_variables().values())
    runs, run_block = Counter(), model.run_block

    def count(index, *inputs):
        runs[index] += 1
        return run_block(index, *inputs)

    monkeypatch.setattr(model, "run_block", count)

    def gradients():
        runs.clear()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.log_prob(images))
        return tape.gradient(loss, parameters)

    plain = gradients()
    assert set(runs.values()) == {1}
    model.set_remat(True)
    recomputed = gradients()
    assert max(runs.values()) == 2
    for ours, expected in zip(recomputed, plain, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_error_of_our_own_while_a_checkpoint_is_read_is_not_taken_for_damage(
    tmp_path, monkeypatch
):
    config = Config.of(image_shape=(4, 4, 1), nr_filters=2, field="11x5")
    groups = TrainState(config, tf.distribute.get_strategy()).groups()
    (tmp_path / checkpoint.FOLDER).mkdir()
    checkpoint.write(str(tmp_path), 1, groups)

    def fail(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(checkpoint, "check_fit", fail)
    with pytest.raises(ValueError, match="^a bug$"):
        checkpoint.read_newest(str(tmp_path), groups)
