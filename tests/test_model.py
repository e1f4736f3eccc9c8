"""PixelCNNPP: causality, sizes, parameter counts, errors."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import SMALL, initialized

from pixel_cnn_pp import PixelCNNPP


def random_images(shape, seed=0, num_levels=256):
    return np.random.default_rng(seed).integers(0, num_levels, shape, dtype=np.uint8)


def to_float(images):
    return (images.astype(np.float32) - 127.5) / 127.5


def trained(model, steps=3):
    """Moves every parameter, as training would."""
    images = random_images((8, *model.image_shape), 1)
    variables = [p.value for p in model.parameters.values()]
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model.image_loss(images))
        for variable, gradient in zip(
            variables, tape.gradient(loss, variables), strict=True
        ):
            variable.assign_sub(0.01 * tf.sign(gradient))
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, count",
    [
        ({}, 53_659_080),
        ({"num_labels": 10}, 53_863_880),
        ({"nr_filters": 192}, 77_244_104),
    ],
)
def test_number_of_parameters_at_the_sizes_of_code_and_paper(arguments, count):
    model = PixelCNNPP(**arguments, initial_weights=False)
    assert sum(int(np.prod(p.shape)) for p in model.parameters.values()) == count


def test_parameters_are_all_the_weights_there_are():
    model = PixelCNNPP((8, 8, 3), num_labels=4, **SMALL)
    ours = {id(p) for p in model.parameters.values()}
    assert ours == {id(w) for w in model.weights}
    assert ours == {id(v) for layer in model._flatten_layers() for v in layer.weights}


def assert_causal(model):
    """The output at a pixel depends on all pixels before it and on no other."""
    height, width, _ = shape = model.image_shape
    x = tf.constant(to_float(random_images((1, *shape), 2)))

    @tf.function(autograph=False)
    def gradient(i, j):
        with tf.GradientTape() as tape:
            tape.watch(x)
            # Squares, so that no gradients cancel.
            output = tf.reduce_sum(model(x)[0, i, j] ** 2)
        return tape.gradient(output, x)

    for i, j in np.ndindex(height, width):
        seen = np.abs(gradient(tf.constant(i), tf.constant(j))[0]).max(axis=-1).ravel()
        position = i * width + j
        assert not seen[position:].any(), (i, j)
        assert seen[:position].all(), (i, j)


@pytest.mark.parametrize(
    "after", ["initialisation", pytest.param("training", marks=pytest.mark.slow)]
)
def test_a_pixel_depends_on_no_pixel_at_or_after_it_and_on_those_before(after):
    model = initialized((8, 6, 3))
    if after == "training":
        trained(model)
    assert_causal(model)


@pytest.mark.slow
@pytest.mark.parametrize("after", ["initialisation", "training"])
def test_stream_u_sees_the_rows_above_and_ul_also_the_pixels_to_the_left(after):
    model = initialized((8, 6, 3))
    if after == "training":
        trained(model)
    x = to_float(random_images((1, 8, 6, 3), 3))
    seen = {"u": [], "ul": []}
    run_block = model.run_block

    def record(index, *arguments):
        y = run_block(index, *arguments)
        seen[model.topology[index].stream].append((model.topology[index].stride, y))
        return y

    def maps(x):
        seen["u"], seen["ul"] = [], []
        model.run_block = record
        model.features(tf.constant(x))
        return {stream: list(outputs) for stream, outputs in seen.items()}

    before = maps(x)
    for i, j in [(0, 0), (3, 5), (4, 4), (6, 5)]:
        changed = x.copy()
        changed[0, i, j] += 0.5
        after_change = maps(changed)
        for stream in ("u", "ul"):
            pairs = zip(before[stream], after_change[stream], strict=True)
            for (stride, a), (_, b) in pairs:
                differs = np.abs(a - b).max(axis=(0, -1)) > 0
                row, column = np.nonzero(differs)
                # A map at stride s stands for the image's pixels (s·row, s·column).
                rows, columns = row * stride, column * stride
                if stream == "u":
                    assert (rows > i).all()
                else:
                    assert ((rows > i) | ((rows == i) & (columns > j))).all()


@pytest.mark.parametrize(
    "image_shape, num_levels",
    [
        ((5, 7, 1), 256),
        ((6, 9, 2), 16),
        ((4, 4, 4), 2),
        ((1, 1, 3), 256),
        ((3, 10, 5), 8),
    ],
)
def test_any_size_number_of_channels_and_bit_depth(image_shape, num_levels):
    model = PixelCNNPP(image_shape, num_levels=num_levels, **SMALL)
    images = random_images((4, *image_shape), num_levels=num_levels)
    c = image_shape[-1]
    output = model(to_float(images))
    assert output.shape == (4, *image_shape[:2], 2 * (1 + 2 * c + c * (c - 1) // 2))
    log_prob = model.log_prob(images).numpy()
    assert log_prob.shape == (4,) and np.isfinite(log_prob).all()


def test_samples_of_many_channels_and_few_pixel_values_are_pixel_values():
    model = PixelCNNPP((3, 10, 5), num_levels=8, field="11x5", **SMALL)
    drawn = model.sample(2, seed=(1, 2)).numpy()
    assert drawn.shape == (2, 3, 10, 5) and drawn.dtype == np.uint8
    assert drawn.max() < 8


@pytest.mark.slow
def test_padded_sizes_are_causal_and_see_every_earlier_pixel():
    assert_causal(initialized((5, 6, 1)))


def test_probabilities_of_all_images_of_2_by_2_binary_pixels_sum_to_1():
    model = initialized((2, 2, 1), num_levels=2)
    images = np.array(list(np.ndindex(2, 2, 2, 2)), np.uint8).reshape(16, 2, 2, 1)
    total = np.exp(model.log_prob(images).numpy().astype(np.float64)).sum()
    assert total == pytest.approx(1.0, abs=1e-4)


@pytest.mark.slow
def test_class_conditional_model_depends_on_the_label():
    model = initialized((8, 6, 3), num_labels=4, field="11x5")
    images = random_images((4, 8, 6, 3))
    log_prob = model.log_prob(images, [0, 1, 2, 3]).numpy()
    assert (log_prob != model.log_prob(images, [1, 2, 3, 0]).numpy()).all()
    drawn = model.sample(2, labels=[3, 1], seed=(1, 1)).numpy()
    assert (drawn != model.sample(2, labels=[0, 2], seed=(1, 1)).numpy()).any()


def test_energy_distance_model_has_no_likelihood_and_no_temperature():
    model = PixelCNNPP((4, 4, 3), energy_distance=True, field="11x5", **SMALL)
    for score in (model.log_prob, model.log_prob_per_pixel):
        with pytest.raises(ValueError, match="no likelihood; train without it"):
            score(random_images((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="temperature=0.5"):
        model.sample(1, temperature=0.5)


@pytest.fixture(scope="module")
def shared():
    """One model of each setting, for tests that do not change it."""
    return functools.cache(
        lambda **changes: PixelCNNPP((8, 8, 3), field="11x5", **SMALL, **changes)
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: m.log_prob(np.zeros((2, 8, 8, 3), np.float32)), "float32"),
        (lambda m: m.log_prob(np.zeros((2, 8, 9, 3), np.uint8)), r"\[2, 8, 9, 3\]"),
        (lambda m: m.log_prob(np.zeros((0, 8, 8, 3), np.uint8)), r"\[0, 8, 8, 3\]"),
        (lambda m: m.sample(1, seed=(1, 2, 3)), "seed=.*must be one integer or two"),
        (lambda m: m.sample(1, seed=1.5), "seed=1.5: must be one integer or two"),
        (lambda m: m.sample(1, seed=(0, 2**31)), "seed=.*: must be from -2147483648"),
        (lambda m: PixelCNNPP(seed=-1), "seed=-1: must be an integer from 0"),
        (lambda m: PixelCNNPP(seed=2**31), "seed=2147483648: must be an integer"),
        (lambda m: m.sample(1, temperature=1e-46), "temperature=1e-46"),
        (lambda m: PixelCNNPP((8, 8)), r"image_shape=\(8, 8\)"),
        (lambda m: PixelCNNPP(nr_filters=0), "nr_filters=0: must be 1 or more"),
        (lambda m: PixelCNNPP(resnet_nonlinearity="tanh"), "must be one of concat_elu"),
        (lambda m: m.log_prob(np.full((1, 8, 8, 3), 40, np.uint8)), "pixel value 40"),
        (
            lambda m: m.log_prob(np.zeros((1, 8, 8, 3), np.uint8), [1]),
            "num_labels=None",
        ),
        (lambda m: m.sample(0), "n=0"),
        (lambda m: m.sample(2.5), "n=2.5: must be an integer from 1"),
        (lambda m: m.sample(2**40), "n=1099511627776: must be an integer from 1"),
        (lambda m: m.sample(1, first=2**31 - 1), "first=2147483647: must be an"),
        (lambda m: m.round_kernels("float16"), "dtype=float16: must be float32 or"),
        (lambda m: m(np.zeros((2, 8, 8, 3), np.uint8)), r"x uint8 \[2, 8, 8, 3\]"),
        (lambda m: m(np.zeros((2, 8, 8, 1), np.float32)), r"x float32 \[2, 8, 8, 1\]"),
        (lambda m: m(np.full((1, 8, 8, 3), 255.0)), "x up to ±255: must be floats in"),
        (lambda m: m.log_prob([[[1, 2]], [[3]]]), "images: must be one array"),
        (lambda m: m.initialize(np.full((2, 8, 8, 3), 255.0)), "values up to ±255"),
        (lambda m: m.initialize(np.full((2, 8, 8, 3), np.nan)), "values up to ±nan"),
        (lambda m: m.initialize(np.zeros((0, 8, 8, 3))), r"x \[0, 8, 8, 3\]"),
        (lambda m: m.initialize(np.zeros((2, 8, 9, 3))), r"x \[2, 8, 9, 3\]"),
        (lambda m: m.image_loss(np.zeros((2, 8, 8, 3))), "images float64: must be int"),
        (lambda m: m.sample(1, temperature=0.0), "temperature=0.0"),
    ],
)
def test_wrong_input_is_rejected_with_its_value(call, message, shared):
    with pytest.raises(ValueError, match=message):
        call(shared(num_levels=32))


@pytest.mark.parametrize("labels", [None, [4], [-1], [0.0], [0, 1]])
def test_wrong_labels_are_rejected(labels, shared):
    model = shared(num_labels=4)
    with pytest.raises(ValueError, match="labels"):
        model.log_prob(np.zeros((1, 8, 8, 3), np.uint8), labels)
    if labels is not None:
        with pytest.raises(ValueError, match="labels"):
            model(np.zeros((1, 8, 8, 3), np.float32), np.array(labels))


def test_labels_out_of_range_in_a_graph_give_nan_for_their_images_alone():
    model = PixelCNNPP((4, 4, 1), num_labels=2, field="11x5", **SMALL)
    x, labels = tf.zeros([3, 4, 4, 1]), tf.constant([1, 2, -1])
    inputs = keras.Input((4, 4, 1)), keras.Input((), dtype="int32")
    functional = keras.Model(inputs, model(*inputs))
    for run in map(tf.function, (model, lambda *inputs: functional(inputs))):
        found = run(x, labels).numpy()
        assert np.isnan(found).all(axis=(1, 2, 3)).tolist() == [False, True, True]
        np.testing.assert_allclose(found[0], model(x[:1], labels[:1])[0], atol=1e-6)
    # 2^32 + 1 is 1 in 32 bits.
    found = tf.function(model)(x[:1], tf.constant([2**32 + 1], tf.int64))
    assert np.isnan(found).all()


def test_training_without_a_seed_for_dropout_is_rejected():
    model = PixelCNNPP((8, 8, 3), **(SMALL | {"dropout_p": 0.5}))
    x = np.zeros((1, 8, 8, 3), np.float32)
    with pytest.raises(ValueError, match="seed=None"):
        model(x, training=True)
    assert (model(x).numpy() == model(x).numpy()).all()


def test_model_is_made_again_from_its_config():
    model = PixelCNNPP((8, 12, 1), num_labels=3, **SMALL)
    again = PixelCNNPP.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    for name, parameter in model.parameters.items():
        np.testing.assert_array_equal(parameter, again.parameters[name])
