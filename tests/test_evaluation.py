"""Evaluation: every image counts once."""

import math

import numpy as np
import pytest
import tensorflow as tf

from pixel_cnn_pp import PixelCNNPP, distribution
from pixel_cnn_pp.evaluation import heatmap
from pixel_cnn_pp.evaluation.evaluator import Evaluator, score
from pixel_cnn_pp.likelihood import bits_per_dim

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return PixelCNNPP((8, 8, 3), field="11x5", nr_filters=4, nr_logistic_mix=2)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)


def examples(images):
    return tf.data.Dataset.from_tensor_slices({"image": images})


def losses_of(evaluator, images):
    batches = evaluator.batches(examples(images))
    return np.concatenate([evaluator.losses_of_batch(batch)[0] for batch in batches])


def test_one_nat_per_pixel_of_3_channels_is_a_third_of_1_over_ln_2_bits():
    assert bits_per_dim(16.0, (4, 4, 3)) == pytest.approx(1 / (3 * math.log(2)))


@pytest.mark.parametrize("batch_size", [1, 4, 11, 64])
def test_losses_are_those_of_each_image_alone_whatever_the_batch_size(
    model, images, batch_size
):
    expected = [-model.log_prob(image[None]).numpy().item() for image in images]
    evaluator = Evaluator(model, batch_size, tf.distribute.get_strategy())
    np.testing.assert_allclose(losses_of(evaluator, images), expected, rtol=1e-5)
    mean = evaluator.mean_loss(examples(images))
    assert mean == pytest.approx(np.mean(expected), rel=1e-5)


def test_two_replicas_count_every_image_once(images):
    with distribution.make_strategy(2).scope():
        model = PixelCNNPP((8, 8, 3), field="11x5", nr_filters=4, nr_logistic_mix=2)
        evaluator = Evaluator(model, 3, tf.distribute.get_strategy())
        assert evaluator.batch_size == 4
        mean = evaluator.mean_loss(examples(images))
    assert mean == pytest.approx(-np.mean(model.log_prob(images)), rel=1e-5)


def test_scores_are_streamed_however_many_images_follow(model, images):
    class Endless:
        num_images, num_levels = 10**12, 256

        def examples(self, start=0):
            forever = tf.data.Dataset.from_tensors(images[0]).repeat()
            return forever.map(lambda image: {"image": image, "label": 2})

    scores, labels = next(score(model, Endless(), batch_size=2))
    nats = -model.log_prob(images[:1]).numpy().item()
    np.testing.assert_allclose(scores, [nats / (192 * math.log(2))] * 2, rtol=1e-5)
    assert labels.tolist() == [2, 2]


def test_fewer_pixel_values_than_256_are_scored_on_the_quantized_images(images):
    model = PixelCNNPP(
        (8, 8, 3), field="11x5", nr_filters=4, nr_logistic_mix=2, num_levels=32
    )

    class EightBit:
        num_images, num_levels = len(images), 256
        num_labels = class_names = None
        image_shape = (8, 8, 3)

        def examples(self, start=0):
            return examples(images)

        def names(self):
            return map(str, range(len(images)))

    bits = np.concatenate([bits for bits, _ in score(model, EightBit(), 4)])
    nats = -model.log_prob(images // 8).numpy().astype(np.float64)
    np.testing.assert_allclose(bits, bits_per_dim(nats, (8, 8, 3)), rtol=1e-5)


def test_scores_and_heat_maps_that_are_not_finite_end_in_an_error(images, tmp_path):
    class Few:
        num_images, num_levels = 3, 256

        def examples(self, start=0):
            return examples(images[:3])

    model = PixelCNNPP((8, 8, 3), field="11x5", nr_filters=4, nr_logistic_mix=2)
    for parameter in model.parameters.values():
        parameter.assign(tf.fill(parameter.shape, np.nan))
    with pytest.raises(FloatingPointError, match="bits of some images are NaN"):
        list(score(model, Few(), batch_size=2))
    settings = heatmap.HeatmapSettings(batch_size=2)
    with pytest.raises(FloatingPointError, match="bits of some images are NaN"):
        heatmap.save_heatmaps(model, Few(), 3, str(tmp_path / "maps"), settings)
    assert not list(tmp_path.iterdir())
