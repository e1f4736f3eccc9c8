"""The softmax, and the density of the mixture at dequantized pixels."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from small_models import initialized, random_images

from pixel_cnn_pp import images, prng
from pixel_cnn_pp.likelihood import ContinuousMixLogistic, Softmax


def parameters(distribution, shape, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    size = (*shape, distribution.num_parameters)
    return rng.normal(0, scale, size).astype(np.float32)


def numpy_softmax_log_prob(x, values, l, num_levels):
    """Float64 reference for one pixel: x [C] in [-1, 1], its values [C] and l [D]."""
    channels = len(x)
    blocks = l.astype(np.float64).reshape(-1, num_levels)
    pairs = [(c, j) for c in range(channels) for j in range(c)]
    total = 0.0
    for c in range(channels):
        logits = blocks[c].copy()
        for (to, j), coefficients in zip(pairs, blocks[channels:], strict=True):
            if to == c:
                logits += coefficients * x[j]
        total += logits[values[c]] - np.log(np.sum(np.exp(logits)))
    return total


def test_softmax_has_the_papers_1536_parameters():
    assert Softmax(3).num_parameters == 1536


@pytest.mark.parametrize("channels, num_levels", [(1, 256), (3, 256), (4, 5), (2, 2)])
def test_softmax_log_prob_is_that_of_float64_numpy(channels, num_levels):
    distribution = Softmax(channels, num_levels)
    l = parameters(distribution, (1, 2, 3))
    values = np.random.default_rng(1).integers(0, num_levels, (1, 2, 3, channels))
    values[0, 0, 0], values[0, 0, 1] = 0, num_levels - 1
    x = images.to_float(values.astype(np.uint8), num_levels).numpy()
    ours = distribution.log_prob(x, l).numpy()
    for index in np.ndindex(1, 2, 3):
        expected = numpy_softmax_log_prob(x[index], values[index], l[index], num_levels)
        assert ours[index] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        distribution.loss(x, l), [-ours.astype(np.float64).sum()], rtol=1e-5
    )


def test_softmax_samples_have_the_frequencies_that_log_prob_says():
    n, num_levels = 60_000, 4
    distribution = Softmax(3, num_levels)
    l = parameters(distribution, (1,), seed=5)
    u = prng.uniform([n, distribution.noise_size], tf.constant([3, 4]))
    x = distribution.sample(np.repeat(l, n, axis=0), u)
    drawn = images.to_pixel_values(x, num_levels).numpy()
    np.testing.assert_allclose(images.to_float(drawn, num_levels), x, atol=1e-6)
    for colour in itertools.product(range(num_levels), repeat=3):
        one = images.to_float(np.array(colour, np.uint8).reshape(1, 1, 1, 3), 4)
        log_prob = distribution.log_prob(one, l[:, None, None])
        p = np.exp(log_prob.numpy().item())
        frequency = np.mean((drawn == colour).all(-1))
        assert abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / n) + 1e-5, colour


def test_softmax_samples_the_lowest_and_highest_pixel_value_at_the_ends_of_the_unit():
    distribution = Softmax(1)
    l = np.zeros((2, 256), np.float32)
    ends = np.float32([[2.0**-24], [1 - 2.0**-24]])
    np.testing.assert_array_equal(distribution.sample(l, ends), [[-1.0], [1.0]])


def test_softmax_never_samples_pixel_values_without_probability():
    distribution = Softmax(1)
    l = parameters(distribution, (1000,))
    l[:, 200:] = -200.0
    ends = np.full((1000, 1), 1 - 2.0**-24, np.float32)
    values = images.to_pixel_values(distribution.sample(l, ends), 256).numpy()
    assert values.max() == 199


def numpy_density(y, l, k):
    """Float64 density of one grey value in units of [-1, 1]: y [M], l [3K]."""
    logits, means, log_scales = l.astype(np.float64).reshape(3, k)
    weights = np.exp(logits) / np.exp(logits).sum()
    scales = np.exp(np.maximum(log_scales, -7))
    z = (y[:, None] - means) / scales
    logistic = np.exp(-np.abs(z)) / (scales * (1 + np.exp(-np.abs(z))) ** 2)
    return logistic @ weights


@pytest.mark.parametrize("num_levels", [256, 16])
def test_continuous_log_prob_is_the_density_per_pixel_value_of_float64_numpy(
    num_levels,
):
    distribution = ContinuousMixLogistic(1, 4, num_levels)
    l = parameters(distribution, (1, 1, 1))
    values = np.arange(num_levels, dtype=np.uint8).reshape(1, 1, -1, 1)
    x = images.to_float(values, num_levels)
    offsets = np.random.default_rng(2).uniform(-0.5, 0.5, x.shape).astype(np.float32)
    ours = distribution.log_prob(x, np.repeat(l, num_levels, axis=2), offsets)
    half = (num_levels - 1) / 2
    y = (np.arange(num_levels) + offsets.ravel() - half) / half
    expected = np.log(numpy_density(y, l.ravel(), 4) / half)
    np.testing.assert_allclose(ours.numpy().ravel(), expected, rtol=2e-5, atol=2e-5)


def test_mean_density_over_a_bin_is_its_probability_and_mean_log_density_below_it():
    distribution = ContinuousMixLogistic(1, 3)
    l = parameters(distribution, (1, 1, 1))
    l[..., 6:] = -4.0  # Narrow enough that the density bends within a bin.
    n = 4096
    offsets = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5).reshape(1, 1, n, 1)
    logits, means, _ = l.astype(np.float64).reshape(3, 3)
    weights = np.exp(logits) / np.exp(logits).sum()
    for level in (100, 127, 128, 150):
        x = images.to_float(np.full((1, 1, n, 1), level, np.uint8))
        log_density = distribution.log_prob(x, np.repeat(l, n, axis=2), offsets)
        edges = (np.array([level - 0.5, level + 0.5]) - 127.5) / 127.5
        cdf = 1 / (1 + np.exp(-(edges[:, None] - means) / np.exp(-4.0)))
        p = (cdf[1] - cdf[0]) @ weights
        log_density = log_density.numpy().astype(np.float64)
        assert np.exp(log_density).mean() == pytest.approx(p, rel=1e-4)
        assert log_density.mean() < np.log(p)


@pytest.fixture(scope="module")
def continuous():
    return initialized((5, 4, 3), likelihood="mix_logistic_continuous", field="11x5")


@pytest.mark.slow
def test_bound_of_an_image_depends_on_no_other_image_and_repeats(continuous):
    given = random_images(3, continuous)
    together = continuous.log_prob(given).numpy()
    alone = [continuous.log_prob(given[i : i + 1]).numpy()[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"likelihood": "softmax", "num_levels": 16},
        {"likelihood": "mix_logistic_continuous", "num_labels": 3},
    ],
    ids=["mix_logistic", "softmax", "continuous"],
)
def test_pixels_sum_to_log_prob_and_know_nothing_of_later_pixels(changes):
    model = initialized((5, 4, 3), field="11x5", **changes)
    given = random_images(2, model)
    labels = np.array([0, 2]) if model.num_labels else None
    pixels = model.log_prob_per_pixel(given, labels).numpy()
    assert pixels.shape == (2, 5, 4)
    whole = model.log_prob(given, labels)
    np.testing.assert_allclose(pixels.sum(axis=(1, 2)), whole, rtol=1e-5)
    given[:, 2, 1] = model.num_levels - 1 - given[:, 2, 1]
    changed = model.log_prob_per_pixel(given, labels).numpy() != pixels
    assert changed.reshape(2, 20)[:, 9].all()
    assert not changed.reshape(2, 20)[:, :9].any()


@pytest.mark.slow
def test_more_dequantizations_bring_the_bound_nearer_to_its_mean(continuous):
    given = random_images(4, continuous)
    found = {}
    for draws in (1, 8, 64, 512):
        continuous.objective.dequantization_draws = draws
        found[draws] = -continuous.image_loss(given).numpy()
    continuous.objective.dequantization_draws = 8
    errors = [np.abs(found[draws] - found[512]).mean() for draws in (1, 8, 64)]
    assert errors[0] > errors[1] > errors[2]


def test_training_takes_another_dequantization_with_every_seed(continuous):
    given = random_images(2, continuous)
    losses = [
        continuous.image_loss(given, training=True, seed=tf.constant([1, i])).numpy()
        for i in (0, 0, 1)
    ]
    np.testing.assert_array_equal(losses[0], losses[1])
    assert (losses[0] != losses[2]).all()
    repeated = continuous.image_loss(
        np.repeat(given[:1], 2, axis=0), training=True, seed=tf.constant([1, 0])
    )
    assert repeated[0] != repeated[1]


def test_keras_evaluates_a_smaller_last_batch_of_an_energy_distance_model():
    model = initialized((4, 4, 3), energy_distance=True, field="11x5")
    model.compile()
    images = random_images(3, model)
    assert np.isfinite(model.evaluate(images, batch_size=2, verbose=0))
