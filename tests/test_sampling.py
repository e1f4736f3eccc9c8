"""The incremental pass against the full one; draws, completions, their statistics."""

import full_pass
import numpy as np
import pytest
import tensorflow as tf
from small_models import (
    initialized,
    parameters_by_pixel,
    random_images,
    share_equal,
    to_float,
)

from pixel_cnn_pp.sampling.kernels import conditions_of, fold_kernels

pytestmark = pytest.mark.usefixtures("with_xla")


@pytest.mark.parametrize(
    "image_shape, changes",
    [
        pytest.param(
            (8, 12, 3), {"nr_resnet": 2, "num_labels": 3}, marks=pytest.mark.slow
        ),
        pytest.param(
            (6, 7, 3),
            {
                "short_cuts": False,
                "autoregressive_channels": True,
                "resnet_nonlinearity": "relu",
            },
            marks=pytest.mark.slow,
        ),
        ((7, 9, 3), {"field": "11x5", "resnet_nonlinearity": "elu"}),
        pytest.param(
            (9, 8, 1),
            {
                "field": "15x8",
                "nin_blocks": 2,
                "num_labels": 3,
                "likelihood": "softmax",
                "num_levels": 32,
            },
            marks=pytest.mark.slow,
        ),
    ],
)
def test_incremental_parameters_are_those_of_the_full_pass_at_every_pixel(
    image_shape, changes
):
    model = initialized(image_shape, **changes)
    labels = tf.constant([2, 0, 1]) if model.num_labels else None
    x = to_float(random_images(3, model), model)
    full = model(x, labels).numpy()
    ours = parameters_by_pixel(
        model, fold_kernels(model), conditions_of(model, labels), x
    )
    np.testing.assert_allclose(ours, full, rtol=1e-4, atol=1e-5 * np.abs(full).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    "image_shape, changes, temperature",
    [
        ((6, 5, 3), {"num_labels": 4}, 0.7),
        ((5, 6, 1), {"energy_distance": True, "field": "11x5"}, 1.0),
        (
            (4, 3, 3),
            {"likelihood": "softmax", "autoregressive_channels": True, "field": "15x8"},
            0.8,
        ),
        ((4, 5, 3), {"likelihood": "mix_logistic_continuous", "field": "11x5"}, 1.0),
    ],
)
def test_same_seed_samples_what_the_full_pass_sampler_samples(
    image_shape, changes, temperature
):
    model = initialized(image_shape, **changes)
    labels = np.arange(8) % 4 if model.num_labels else None
    ours = model.sample(8, labels, seed=(3, 4), temperature=temperature)
    reference = full_pass.sample_images(model, 8, labels, (3, 4), temperature)
    assert share_equal(ours, reference) >= 7 / 8
    assert len(np.unique(np.asarray(ours).reshape(8, -1), axis=0)) == 8


@pytest.fixture(scope="module")
def model():
    """Images of 4 pixel values, so that a pixel's entropy can be counted out."""
    model = initialized((6, 5, 2), num_levels=4, field="11x5")
    model.set_jit_compile(True)
    return model


@pytest.mark.slow
def test_mean_bits_of_2000_samples_are_the_entropy_that_the_model_predicts(model):
    drawn = model.sample(2000, seed=(5, 6)).numpy()
    parameters = model(to_float(drawn, model))
    entropy = np.zeros(2000)
    for colour in np.ndindex(4, 4):
        values = np.broadcast_to(np.uint8(colour), drawn.shape)
        log_p = model.objective.log_prob(to_float(values, model), parameters).numpy()
        entropy -= np.sum(np.exp(log_p.astype(np.float64)) * log_p, axis=(1, 2))
    surprise = -model.log_prob(drawn).numpy().astype(np.float64)
    difference = surprise - entropy
    standard_error = difference.std() / np.sqrt(2000)
    assert standard_error < 0.02 * surprise.mean()
    assert abs(difference.mean()) < 3 * standard_error


@pytest.mark.slow
def test_image_7_of_100_is_image_7_sampled_alone(model):
    hundred = model.sample(100, seed=(7, 8)).numpy()
    alone = model.sampler.sample(
        tf.zeros([1, 6, 5, 2], tf.uint8),
        tf.zeros([1, 6, 5], tf.bool),
        tf.zeros([1], tf.int32),
        tf.constant([7, 8]),
        tf.constant(1.0),
        tf.constant(7),
    )
    np.testing.assert_array_equal(hundred[7], alone[0])
    assert share_equal(hundred[:70], model.sample(70, seed=(7, 8))) > 0.95
    assert share_equal(hundred, model.sample(100, seed=(7, 9))) == 0


def test_without_a_seed_each_call_gives_others_which_last_seed_repeats(model):
    first, second = model.sample(4).numpy(), model.sample(4).numpy()
    assert share_equal(first, second) == 0
    np.testing.assert_array_equal(model.sample(4, seed=model.last_seed), second)
    given = random_images(4, model)
    first, second = model.complete(given, 4).numpy(), model.complete(given, 4).numpy()
    assert share_equal(first, second) == 0
    again = model.complete(given, 4, seed=model.last_seed)
    np.testing.assert_array_equal(again, second)


@pytest.mark.parametrize("seed", [3, [3], np.int64(3), (3, 0), np.array([3, 0])])
def test_seed_is_one_integer_or_two(model, seed):
    assert share_equal(model.sample(4, seed=seed), model.sample(4, seed=(3, 0))) == 1
    assert share_equal(model.sample(4, seed=seed), model.sample(4, seed=(0, 3))) == 0
    assert model.last_seed == (0, 3)


def test_progress_counts_to_the_number_of_images(model):
    seen = []
    model.sample(70, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(64, 70), (70, 70)]


def test_completion_keeps_the_first_rows_and_samples_the_rest(model):
    given = random_images(16, model)
    done = model.complete(given, 4, seed=(1, 1)).numpy()
    np.testing.assert_array_equal(done[:, :4], given[:, :4])
    assert (done[:, 4:] != given[:, 4:]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(model.complete(given, 6, seed=(1, 1)), given)
    nothing_kept = model.complete(given, 0, seed=(1, 1))
    assert share_equal(nothing_kept, model.sample(16, seed=(1, 1))) > 0.9


def test_completion_with_a_mask_keeps_what_it_marks(model):
    given = random_images(4, model)
    rows = np.broadcast_to(np.arange(6)[:, None] < 4, (6, 5))
    np.testing.assert_array_equal(
        model.complete(given, mask=rows, seed=0), model.complete(given, 4, seed=0)
    )
    marks = np.random.default_rng(0).random((4, 6, 5)) < 0.5
    done = model.complete(given, mask=marks).numpy()
    np.testing.assert_array_equal(done[marks], given[marks])
    assert (done[~marks] != given[~marks]).any()


def test_completions_have_the_frequencies_that_log_prob_says(model):
    kept = np.ones((6, 5), bool)
    kept[5, 4] = False
    colours = np.array(list(np.ndindex(4, 4)), np.uint8)
    candidates = np.repeat(random_images(1, model), 16, axis=0)
    candidates[:, 5, 4] = colours
    log_p = model.log_prob(candidates).numpy().astype(np.float64)
    p = np.exp(log_p) / np.exp(log_p).sum()  # Of the last pixel, given all others.
    repeated = np.repeat(candidates[:1], 4000, axis=0)
    drawn = model.complete(repeated, mask=kept, seed=(2, 3)).numpy()
    codes = drawn[:, 5, 4] @ [4, 1]
    frequencies = np.bincount(codes, minlength=16) / 4000
    assert (np.abs(frequencies - p) < 4 * np.sqrt(p * (1 - p) / 4000) + 1e-4).all()
    assert p.max() < 0.9


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "rows=None, mask=None: give one"),
        ({"rows": 7}, "rows=7: the images have 6"),
        ({"rows": -1}, "rows=-1"),
        ({"rows": 2.5}, "rows=2.5"),
        ({"mask": np.ones((5, 6), bool)}, r"mask bool \[5, 6\]"),
        ({"mask": np.ones((6, 5))}, "mask float64"),
        ({"rows": 2, "temperature": 0.0}, "temperature=0.0"),
        ({"rows": 2, "temperature": 1e-39}, "temperature=1e-39: must be 1e-06 or more"),
        ({"rows": 2, "temperature": float("nan")}, "temperature=nan"),
        ({"rows": 2, "temperature": "1"}, "temperature=.1.: must be one number"),
        ({"rows": 2, "temperature": [1.0, 2.0]}, "temperature=.*must be one number"),
        ({"rows": "2"}, "rows=.2.: the images have"),
        ({"rows": 2, "labels": [0]}, "labels"),
    ],
)
def test_wrong_arguments_of_a_completion_are_rejected(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.complete(random_images(1, model), **arguments)


@pytest.mark.slow
def test_rounded_kernels_are_those_of_the_full_pass_and_of_the_sampler():
    model = initialized((5, 6, 3), field="11x5")
    given = random_images(3, model)
    exact = model.log_prob(given).numpy()
    model.round_kernels("bfloat16")
    rounded = model.log_prob(given).numpy()
    assert (np.abs(rounded / exact - 1) < 0.02).all() and (rounded != exact).all()
    folded = fold_kernels(model)
    kernels = {name: v for name, v in folded.items() if not name.endswith("/b")}
    assert {v.dtype for v in kernels.values()} == {tf.bfloat16}
    x = to_float(given, model)
    ours = parameters_by_pixel(model, folded, conditions_of(model, None), x)
    np.testing.assert_allclose(ours, model(x), rtol=1e-4, atol=1e-4)
    drawn = model.sample(4, seed=(1, 2))
    reference = full_pass.sample_images(model, 4, None, (1, 2), 1.0)
    assert share_equal(drawn, reference) >= 3 / 4
