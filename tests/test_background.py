"""Training of a background model: mutated images and the L2 penalty, by hand."""

import numpy as np
import pytest
import tensorflow as tf
from small_runs import arrays, random_batch, steps_on

from pixel_cnn_pp import PixelCNNPP
from pixel_cnn_pp.training.background import add_penalty, mutate
from pixel_cnn_pp.training.optimizer import Adam

FIELD = {"field": "11x5", "jit_compile": False}


@pytest.mark.parametrize("rate, num_levels", [(0.3, 256), (1.0, 5), (0.5, 129)])
def test_share_of_sub_pixels_is_replaced_by_uniform_values(rate, num_levels):
    # All 2, so that a uniform value is another one in 1 − 1 / num_levels of the cases.
    images = np.full((50, 32, 32, 3), 2, np.uint8)
    found = mutate(tf.constant(images), rate, num_levels, (1, 2)).numpy()
    assert found.dtype == np.uint8
    changed = found != 2
    share = rate * (1 - 1 / num_levels)
    deviation = np.sqrt(share * (1 - share) / images.size)
    assert abs(changed.mean() - share) < 5 * deviation
    counts = np.bincount(found[changed], minlength=num_levels)
    assert len(counts) == num_levels and counts[2] == 0
    expected = changed.sum() / (num_levels - 1)
    others = np.delete(counts, 2)
    assert abs(others - expected).max() < 6 * np.sqrt(expected)


def test_each_sub_pixel_is_mutated_independently_of_its_channel_and_image():
    images = np.full((400, 8, 8, 3), 100, np.uint8)
    changed = mutate(tf.constant(images), 0.5, 256, (1, 2)).numpy() != 100
    rows = changed.reshape(400, -1).astype(float)
    correlations = np.corrcoef(rows.T)[np.triu_indices(8 * 8 * 3, 1)]
    assert abs(correlations).max() < 0.35 and abs(correlations.mean()) < 0.01


def test_mutation_follows_from_its_seed():
    images = tf.constant(random_batch(4))
    first = mutate(images, 0.3, 256, (1, 2))
    np.testing.assert_array_equal(mutate(images, 0.3, 256, (1, 2)), first)
    assert (mutate(images, 0.3, 256, (1, 3)).numpy() != first.numpy()).any()


def losses_without_training(**changes):
    """Losses of two steps on the same images, at a learning rate of next to nothing."""
    settings = {"learning_rate": 1e-30, "steps": 2, **FIELD}
    return steps_on(1, 16, 0.0, random_batch(16), **settings, **changes)[1]


@pytest.mark.slow
def test_steps_mutate_the_images_anew_and_repeat_with_the_seed():
    plain = losses_without_training()
    assert plain[0] == plain[1]
    mutated = losses_without_training(mutation_rate=0.3)
    assert len({*mutated, plain[0]}) == 3
    assert losses_without_training(mutation_rate=0.3) == mutated


def test_penalty_of_factor_3_adds_6_g_to_the_gradient_of_g_alone():
    names = ["conv2d_0/V", "conv2d_0/g", "conv2d_0/b", "conditional_weights_0/hw"]
    values = [tf.constant([0.5, -2.0])] * 4
    gradients = [tf.constant([1.0, 1.0])] * 4
    found = add_penalty(gradients, values, names, 3.0)
    expected = [[1, 1], [1 + 6 * 0.5, 1 - 6 * 2.0], [1, 1], [1, 1]]
    np.testing.assert_allclose(found, expected)


def test_penalty_is_the_sum_of_the_squares_of_all_kernels():
    model = PixelCNNPP((8, 8, 3), nr_filters=4, num_labels=2, field="11x5")
    rng = np.random.default_rng(0)
    variables = model.tf_variables()
    for variable in variables.values():
        variable.assign(rng.normal(size=variable.shape))
    with tf.GradientTape() as tape:
        squares = [tf.reduce_sum(layer.kernel() ** 2) for layer in model.linear_layers]
        penalty = 0.7 * tf.add_n(squares)
    expected = tape.gradient(penalty, variables, unconnected_gradients="zero")
    values = list(variables.values())
    zeros = [tf.zeros(value.shape) for value in values]
    found = add_penalty(zeros, values, variables, 0.7)
    for ours, theirs in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_step_adds_the_penalty_of_every_image_to_the_gradients_not_to_the_loss():
    settings = {"learning_rate": 1e-30, "steps": 1, "accumulate": 2, **FIELD}
    arguments = (1, 8, 0.0, random_batch(16))
    plain, loss = steps_on(*arguments, **settings)
    decayed, same = steps_on(*arguments, **settings, weight_decay=0.25)
    assert same == loss
    without, moments = arrays(plain.adam.v), arrays(decayed.adam.v)
    for name, value in arrays(plain.parameters).items():
        # v is a twentieth of the gradient after the first step, of 16 images.
        penalty = 16 * 2 * 0.25 * value if name.endswith("/g") else 0.0
        expected = without[name] + (1 - Adam.mom1) * penalty
        np.testing.assert_allclose(moments[name], expected, rtol=1e-4, atol=1e-4)
