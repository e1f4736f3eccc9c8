"""The variants of the topology: skip connections, small fields; channels of a pixel."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import initialized, random_images, to_float

from pixel_cnn_pp.config import ModelConfig
from pixel_cnn_pp.topology import topology


def test_every_short_cut_is_used_once_and_blocks_run_in_order():
    blocks = topology(ModelConfig(nr_resnet=2))
    assert len(blocks) == 2 * (1 + 3 * 2 + 2 + 2 + 2 * 3 + 2)
    ups = range(0, 18)
    popped = [i for block in blocks[18:] for i in block.a if i in ups]
    assert sorted(popped) == list(ups)[:-2]
    assert all(i < n for n, b in enumerate(blocks) for i in (b.x, *b.a))


def test_without_short_cuts_only_the_streams_tops_pass_from_the_way_up_to_that_down():
    with_them, without = (
        topology(ModelConfig(nr_resnet=2, short_cuts=short_cuts))
        for short_cuts in (True, False)
    )
    assert [b[:4] for b in with_them] == [b[:4] for b in without]
    read = {i for block in without[18:] for i in (block.x, *block.a) if i < 18}
    assert read == {16, 17}


def seen_by(model, i, j):
    """Which pixels, bool [H, W], the parameters at (i, j) depend on."""
    x = to_float(random_images(1, model, 2), model)
    with tf.GradientTape() as tape:
        tape.watch(x)
        # Squares, so that no gradients cancel.
        output = tf.reduce_sum(model(x)[0, i, j] ** 2)
    return np.abs(tape.gradient(output, x)[0]).max(axis=-1) > 0


@pytest.mark.parametrize("nin_blocks", [0, 3])
@pytest.mark.parametrize("field, half, above", [("11x5", 5, 5), ("15x8", 7, 8)])
def test_field_is_the_papers_rectangle_above_and_half_its_width_to_the_left(
    field, half, above, nin_blocks
):
    model = initialized((12, 18, 1), field=field, nin_blocks=nin_blocks)
    for i, j in [(0, 1), (4, 3), (11, 8), (11, 17), (9, 9)]:
        expected = np.zeros((12, 18), bool)
        expected[max(i - above, 0) : i, max(j - half, 0) : j + half + 1] = True
        expected[i, max(j - half, 0) : j] = True
        np.testing.assert_array_equal(seen_by(model, i, j), expected)


def test_with_autoregressive_channels_a_pixel_sees_all_before_it_and_none_after():
    # Of one channel, so that there is none of its own to look at.
    model = initialized((8, 6, 1), autoregressive_channels=True)
    for i, j in [(0, 5), (3, 5), (4, 4), (7, 5)]:
        seen = seen_by(model, i, j).ravel()
        np.testing.assert_array_equal(seen, np.arange(48) < i * 6 + j)


def test_without_short_cuts_no_pixel_sees_back_to_the_last_one_of_the_coarsest_stage():
    # Which is why the paper's model fails to train: maps of the coarsest stage stand at
    # every fourth pixel, and what came since then has no other way to the output.
    model = initialized((8, 12, 1), short_cuts=False)
    for i, j in [(0, 5), (0, 7), (4, 6), (6, 10)]:
        corner = i // 4 * 4 * 12 + j // 4 * 4
        seen = seen_by(model, i, j).ravel()
        assert seen[corner - 1] and not seen[corner:].any(), (i, j)


@pytest.mark.parametrize("likelihood", ["mix_logistic", "softmax"])
@pytest.mark.parametrize("channels", [3, 4])
def test_parameters_of_a_channel_see_the_pixels_earlier_channels_alone(
    channels, likelihood
):
    model = initialized(
        (3, 3, channels),
        field="11x5",
        autoregressive_channels=True,
        likelihood=likelihood,
        num_levels=8,
    )
    x = to_float(random_images(1, model, 2), model)
    for c in range(channels):
        with tf.GradientTape() as tape:
            tape.watch(x)
            of_c = model.objective.parameter_channels == c
            output = tf.reduce_sum(model(x)[0, 2, 1][of_c] ** 2)
        seen = np.abs(tape.gradient(output, x)[0, 2, 1]) > 0
        np.testing.assert_array_equal(seen, np.arange(channels) < c)


@pytest.mark.slow
def test_autoregressive_channels_have_probabilities_that_sum_to_1():
    model = initialized(
        (1, 1, 3), num_levels=4, autoregressive_channels=True, field="11x5"
    )
    colours = np.array(list(np.ndindex(4, 4, 4)), np.uint8).reshape(64, 1, 1, 3)
    assert np.exp(model.log_prob(colours).numpy()).sum() == pytest.approx(1, abs=1e-4)
