"""The mixture's log-probability and drawing; the energy distance."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from pixel_cnn_pp import images, prng
from pixel_cnn_pp.likelihood import DiscretizedMixLogistic, EnergyDistance


def parameters(distribution, shape, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, scale, (*shape, distribution.num_parameters)).astype(
        np.float32
    )


def numpy_log_prob(x, l, channels, k, num_levels):
    """Float64 reference for one pixel: x [C] in [-1, 1], l [D]."""

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    blocks = iter(l.astype(np.float64).reshape(-1, k))
    logits = next(blocks)
    pairs = [(c, j) for c in range(channels) for j in range(c)]
    means, scales, coefficients = [], [], []
    for c in range(channels):
        means.append(next(blocks))
        scales.append(np.exp(np.maximum(next(blocks), -7)))
        if c < len(pairs):
            coefficients.append(next(blocks))
    coefficients += list(blocks)
    half = 1 / (num_levels - 1)
    total = logits - np.log(np.sum(np.exp(logits)))
    for c in range(channels):
        mean = means[c].copy()
        for (to, j), coefficient in zip(pairs, coefficients, strict=True):
            if to == c:
                mean += np.tanh(coefficient) * x[j]
        plus = sigmoid((x[c] + half - mean) / scales[c])
        minus = sigmoid((x[c] - half - mean) / scales[c])
        if x[c] < -0.999:
            minus = 0.0
        if x[c] > 0.999:
            plus = 1.0
        total = total + np.log(plus - minus)
    return np.log(np.sum(np.exp(total)))


@pytest.mark.parametrize("num_levels", [256, 32, 2])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_log_prob_is_that_of_float64_numpy(channels, num_levels):
    distribution = DiscretizedMixLogistic(channels, 4, num_levels)
    assert distribution.num_parameters == 4 * (
        1 + 2 * channels + channels * (channels - 1) // 2
    )
    l = parameters(distribution, (2, 3, 3))
    values = np.random.default_rng(1).integers(0, num_levels, (2, 3, 3, channels))
    values[0, 0, 0], values[0, 0, 1] = 0, num_levels - 1
    x = images.to_float(tf.constant(values.astype(np.uint8)), num_levels).numpy()
    ours = distribution.log_prob(x, l).numpy()
    for index in np.ndindex(2, 3, 3):
        expected = numpy_log_prob(x[index], l[index], channels, 4, num_levels)
        assert ours[index] == pytest.approx(expected, rel=2e-4, abs=2e-4)


@pytest.mark.parametrize("num_levels", [256, 16, 2])
def test_probabilities_of_all_greys_sum_to_1(num_levels):
    distribution = DiscretizedMixLogistic(1, 5, num_levels)
    l = np.repeat(parameters(distribution, (1, 1, 1)), num_levels, axis=2)
    values = np.arange(num_levels, dtype=np.uint8).reshape(1, 1, -1, 1)
    log_prob = distribution.log_prob(images.to_float(values, num_levels), l)
    assert float(tf.reduce_sum(tf.exp(log_prob))) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.slow
def test_probabilities_of_all_colours_sum_to_1_factor_by_factor():
    # Given the component, the probability of a colour is the product of its channels',
    # each of which depends on the earlier ones: if each factor sums to 1 whatever these
    # are, so does the product over all 256³ colours.
    distribution = DiscretizedMixLogistic(3, 1)
    l = parameters(distribution, (1, 1, 1))
    rng = np.random.default_rng(2)

    def joint(colours):
        x = images.to_float(colours.astype(np.uint8)[None, None])
        rows = np.repeat(l, len(colours), axis=2)
        return np.exp(distribution.log_prob(x, rows).numpy().ravel())

    def all_values(colour, channel):
        colours = np.repeat(np.array([colour]), 256, axis=0)
        colours[:, channel] = np.arange(256)
        return colours

    for colour in rng.integers(0, 256, (4, 3)):
        # Summed over blue, the joint is P(red, green): it must not depend on which of
        # the other values it was summed with, and green and red sum out alike.
        red_green = np.array(
            [joint(all_values([colour[0], g, 0], 2)).sum() for g in range(256)]
        )
        red = red_green.sum()
        grey = DiscretizedMixLogistic(1, 1)
        x = images.to_float(np.array([[[[colour[0]]]]], np.uint8))
        marginal = np.exp(grey.log_prob(x, l[..., [0, 1, 2]]).numpy().item())
        assert red == pytest.approx(marginal, rel=1e-4)


@pytest.mark.parametrize("log_scale", [-50.0, -7.0, 0.0, 50.0])
@pytest.mark.parametrize("mean", [-100.0, -1.0, 0.0, 1.0, 100.0])
def test_value_and_gradient_are_finite_at_the_extremes(mean, log_scale):
    distribution = DiscretizedMixLogistic(3, 2)
    values = np.stack([np.arange(256)] * 3, -1).astype(np.uint8)[None, None]
    x = images.to_float(values)
    l = np.zeros((1, 1, 256, 20), np.float32)
    blocks = l.reshape(1, 1, 256, 10, 2)
    blocks[..., [1, 4, 7], :] = mean
    blocks[..., [2, 5, 8], :] = log_scale
    blocks[..., 0, :] = [1e4, -1e4]
    blocks[..., [3, 6, 9], :] = [50.0, -50.0]
    l = tf.constant(l)
    with tf.GradientTape() as tape:
        tape.watch(l)
        log_prob = distribution.log_prob(x, l)
    assert np.isfinite(log_prob).all()
    assert np.isfinite(tape.gradient(log_prob, l)).all()
    assert (log_prob.numpy() <= 1e-5).all()


def test_gradient_is_the_difference_quotient_of_the_value():
    distribution = DiscretizedMixLogistic(3, 2)
    l = tf.constant(parameters(distribution, (1, 1, 1)))
    x = images.to_float(np.array([[[[0, 100, 255]]]], np.uint8))
    with tf.GradientTape() as tape:
        tape.watch(l)
        log_prob = distribution.log_prob(x, l)
    gradient = tape.gradient(log_prob, l).numpy().ravel()
    colour, flat = x.numpy().ravel(), l.numpy().ravel().astype(np.float64)
    for i in range(len(flat)):
        step = np.eye(len(flat))[i] * 1e-5
        up = numpy_log_prob(colour, flat + step, 3, 2, 256)
        down = numpy_log_prob(colour, flat - step, 3, 2, 256)
        assert gradient[i] == pytest.approx((up - down) / 2e-5, rel=2e-3, abs=2e-4)


def test_log_prob_is_float32_whatever_the_precision_of_its_parameters():
    distribution = DiscretizedMixLogistic(3, 2)
    l = tf.cast(parameters(distribution, (1, 2, 2)), tf.bfloat16)
    assert distribution.log_prob(tf.zeros([1, 2, 2, 3]), l).dtype == tf.float32


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_have_the_frequencies_that_log_prob_says(channels):
    n, num_levels = 60_000, 4
    distribution = DiscretizedMixLogistic(channels, 3, num_levels)
    l = parameters(distribution, (1,), seed=5)
    u = prng.uniform([n, distribution.noise_size], tf.constant([3, 4]))
    x = distribution.sample(np.repeat(l, n, axis=0), u)
    drawn = images.to_pixel_values(x, num_levels).numpy()
    np.testing.assert_allclose(images.to_float(drawn, num_levels), x, atol=1e-6)
    for colour in itertools.product(range(num_levels), repeat=channels):
        one = np.array(colour, np.uint8).reshape(1, 1, 1, -1)
        log_prob = distribution.log_prob(
            images.to_float(one, num_levels), l[:, None, None]
        )
        p = np.exp(log_prob.numpy().item())
        frequency = np.mean((drawn == colour).all(-1))
        assert abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / n) + 1e-5, colour


def test_temperature_near_0_samples_the_mean_of_the_likeliest_component():
    distribution = DiscretizedMixLogistic(1, 2)
    l = np.tile(np.float32([3.0, 0.0, 0.25, -0.5, 0.0, 0.0]), (50, 1))
    u = prng.uniform([50, distribution.noise_size], tf.constant([0, 1]))
    cold = distribution.sample(l, u, temperature=1e-3, quantize=False).numpy()
    np.testing.assert_allclose(cold, 0.25, atol=0.02)
    assert np.std(distribution.sample(l, u, temperature=1.0).numpy()) > 0.3


def test_energy_distance_of_two_samples_by_hand():
    # One pixel, one channel: ‖x − x′‖ in pixel values is 127.5 |x − x′|.
    x = np.zeros((1, 1, 1, 1), np.float32)
    samples = np.reshape(np.float32([1 / 127.5, 4 / 127.5]), (2, 1, 1, 1, 1))
    loss = EnergyDistance().loss(x, tf.constant(samples)).numpy()
    expected = 2 * (1 + 4**1.5) / 2 - 3**1.5
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)
