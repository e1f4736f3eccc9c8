"""Adam and Polyak averages by hand arithmetic; the learning rate."""

import numpy as np
import pytest
import tensorflow as tf

from pixel_cnn_pp.training.optimizer import Adam, ema_decay_at, ema_step, start_ema
from pixel_cnn_pp.training.step import learning_rate_at


def apply(adam, p, g, learning_rate, t):
    """The t-th step of the only parameter."""
    v, mg = adam.v["p"], adam.mg["p"]
    corrections = adam.corrections(tf.constant(t))
    new = adam.step(p, v, mg, tf.constant(g, tf.float32), learning_rate, corrections)
    for variable, value in zip((p, v, mg), new, strict=True):
        variable.assign(value)


def test_first_step_moves_by_the_rate_against_the_sign_of_the_gradient():
    p = tf.Variable([1.0, 1.0])
    adam = Adam({"p": p})
    apply(adam, p, [2.0, -1e-3], 0.1, 1)
    # v̂ = g and m̂g = g², so the step is .1 · g / √(g² + 1e-8).
    expected = 1 - 0.1 * np.array([1, -1e-3 / np.sqrt(1e-6 + 1e-8)])
    np.testing.assert_allclose(p, expected, rtol=1e-5)


def test_three_steps_are_those_of_float64_numpy():
    rng = np.random.default_rng(0)
    gradients = rng.normal(0, 1e-4, (3, 5))
    p = tf.Variable(np.zeros(5, np.float32))
    adam = Adam({"p": p})
    expected, v, mg = np.zeros(5), np.zeros(5), np.zeros(5)
    for t, g in enumerate(gradients, 1):
        apply(adam, p, g, 0.01, t)
        v = 0.95 * v + 0.05 * g
        mg = 0.9995 * mg + 0.0005 * g**2
        root = np.sqrt(mg / (1 - 0.9995**t) + 1e-8)
        expected -= 0.01 * v / (1 - 0.95**t) / root
    np.testing.assert_allclose(p, expected, rtol=2e-4)


def test_average_with_decay_half_of_3_then_6_is_4_5():
    assert float(ema_step(tf.constant(3.0), tf.constant(6.0), 0.5)) == 4.5


def test_ema_starts_at_the_parameters():
    average, p = tf.Variable(0.0), tf.Variable(6.0)
    start_ema({"p": average}, {"p": p})
    assert float(average) == 6.0


@pytest.mark.parametrize(
    "step, warmup, decay",
    [(0, True, 0.1), (8, True, 0.5), (10**6, True, 0.9995), (0, False, 0.9995)],
)
def test_decay_warms_up_from_a_tenth_unless_the_official_rule_is_asked_for(
    step, warmup, decay
):
    ours = ema_decay_at(tf.constant(step, tf.int64), 0.9995, warmup)
    assert float(ours) == pytest.approx(decay)


@pytest.mark.parametrize("step", [0, 1, 137_000])
def test_learning_rate_is_decayed_before_every_step(step):
    rate = learning_rate_at(tf.constant(step, tf.int64), 0.001, 0.999995)
    assert float(rate) == pytest.approx(0.001 * 0.999995 ** (step + 1), rel=1e-6)
