"""Codes, whose values have no order: embedded, scored, sampled, saved, trained on."""

import itertools
import json

import command_lines
import keras
import numpy as np
import pytest
import tensorflow as tf
from full_pass import sample_images
from small_models import SMALL, initialized, random_images

import data
from pixel_cnn_pp import PixelCNNPP, checkpoint, export
from pixel_cnn_pp.config import Config, ModelConfig, model_hash
from pixel_cnn_pp.images import quantized, to_float, to_pixel_values

CODES = {"likelihood": "softmax", "embedding_size": 5}
MANY = CODES | {"num_levels": 300}


def of_codes(shape=(2, 2, 1), **changes):
    return initialized(shape, **(CODES | {"num_levels": 3} | changes))


def all_images(shape, num_levels):
    values = itertools.product(range(num_levels), repeat=int(np.prod(shape)))
    return np.array(list(values), np.uint8).reshape(-1, *shape)


def randomized(model, seed=0):
    """The model with the parameters of a distribution that is far from uniform."""
    rng = np.random.default_rng(seed)
    for value in model.tf_variables().values():
        value.assign(rng.normal(0, 1, value.shape))
    return model


@pytest.mark.parametrize("changes", [{}, {"field": "11x5"}, {"num_labels": 2}])
def test_probabilities_of_all_images_sum_to_1(changes):
    model = randomized(of_codes(**changes))
    images = all_images((2, 2, 1), 3)
    labels = np.ones(81, int) if model.num_labels else None
    p = np.exp(model.log_prob(images, labels).numpy().astype(np.float64))
    assert len(p) == 81 and p.max() > 3 / 81
    assert p.sum() == pytest.approx(1, abs=1e-5)


def test_input_layers_see_the_embedding_of_float64_numpy_and_zeros_outside():
    model = randomized(of_codes(num_levels=7))
    codes = np.array([[[3, 6], [0, 1]]])
    x = 2 * codes / 6 - 1
    ones = np.array([[[1.0, 1.0], [1.0, 0.0]]])
    image = np.stack([x, ones], axis=-1).astype(np.float32)
    V, g, b = (
        model.parameters[f"dense_0/{name}"].numpy().astype(np.float64) for name in "Vgb"
    )
    assert V.shape == (7, 5)
    expected = (g * V / np.sqrt(np.sum(V**2, axis=0)))[codes] + b
    expected[0, 1, 1] = 0
    found = model.embedded(image, model.runner()).numpy()
    np.testing.assert_allclose(found[..., :5], expected, rtol=1e-5)
    np.testing.assert_array_equal(found[..., 5], ones)


def test_first_code_has_the_probability_of_float64_numpy():
    # Its features see nothing, so the output layer alone decides between two images.
    model = randomized(of_codes(num_levels=40, field="11x5"))
    images = np.zeros((40, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(40)
    ul = model.features(tf.zeros((1, 2, 2, 1))).numpy()[0, 0, 0].astype(np.float64)
    V, g, b = (
        p.numpy().astype(np.float64) for p in list(model.parameters.values())[-3:]
    )
    elu = np.where(ul > 0, ul, np.expm1(ul))
    logits = elu @ (g * V / np.sqrt(np.sum(V**2, axis=0))) + b
    expected = logits - np.log(np.sum(np.exp(logits)))
    found = model.log_prob_per_pixel(images).numpy()[:, 0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_codes_have_no_order():
    """Renamed codes, with their embeddings and logits, have the same probabilities."""
    model = randomized(of_codes((4, 4, 1), num_levels=9, field="11x5"))
    order = np.random.default_rng(3).permutation(9)
    renamed = PixelCNNPP(**vars(model.config), initial_weights=False)
    head = list(model.parameters)[-3:]
    for name, parameter in model.parameters.items():
        value = parameter.numpy()
        if name == "dense_0/V":  # [codes, E]
            value = value[order]
        elif name in head:  # [..., codes]
            value = value[..., order]
        renamed.parameters[name].assign(value)
    images = random_images(6, model)
    # Code c of the renamed model is code order[c] of the other.
    images_renamed = np.argsort(order)[images].astype(np.uint8)
    assert (images_renamed != images).any()
    np.testing.assert_allclose(
        renamed.log_prob(images_renamed), model.log_prob(images), rtol=1e-5
    )


def test_each_later_code_depends_on_each_earlier_one_and_on_no_other():
    model = randomized(of_codes((3, 3, 1), num_levels=5))
    image = random_images(1, model)
    images = np.repeat(image, 10, axis=0)
    for i in range(9):
        images[i + 1].reshape(-1)[i] = (images[i + 1].reshape(-1)[i] + 1) % 5
    nats = model.log_prob_per_pixel(images).numpy().reshape(10, 9)
    for i in range(9):
        changed = nats[i + 1] != nats[0]
        np.testing.assert_array_equal(changed[:i], False)
        assert changed[i:].all(), i


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"num_labels": 3, "field": "15x8"}])
def test_samples_of_many_codes_are_those_of_a_full_pass_per_pixel(changes):
    model = initialized((6, 5, 1), **MANY, **changes)
    labels = np.arange(4) % 3 if model.num_labels else None
    sampled = model.sample(4, labels, seed=(1, 2)).numpy()
    assert sampled.dtype == np.int32 and sampled.max() > 255
    expected = sample_images(model, 4, labels, (1, 2))
    np.testing.assert_array_equal(sampled, expected)
    completed = model.complete(sampled, 3, labels, seed=(3, 4)).numpy()
    np.testing.assert_array_equal(completed[:, :3], sampled[:, :3])
    assert (completed != sampled).any()


@pytest.mark.slow
def test_samples_have_the_frequencies_that_log_prob_says():
    model = randomized(of_codes((1, 2, 1), num_levels=4, field="11x5"))
    images = all_images((1, 2, 1), 4)
    p = np.exp(model.log_prob(images).numpy())
    n = 1920
    sampled = model.sample(n, seed=5).numpy()
    for image, expected in zip(images, p, strict=True):
        share = np.mean((sampled == image).all(axis=(1, 2, 3)))
        assert abs(share - expected) < 4 * np.sqrt(expected / n) + 1e-3


@pytest.fixture(scope="module")
def many():
    """A model of more codes than 8 bits have."""
    return initialized((2, 2, 1), **MANY, field="11x5")


def test_codes_of_any_integer_type_are_taken_and_others_are_rejected(many):
    images = random_images(3, many)
    assert images.dtype == np.int32
    expected = many.log_prob(images).numpy()
    for dtype in (np.uint16, np.int64):
        np.testing.assert_array_equal(many.log_prob(images.astype(dtype)), expected)
    with pytest.raises(ValueError, match=r"images float32 \[3, 2, 2, 1\]: .* int32"):
        many.log_prob(images.astype(np.float32))
    for value in (-1, 300):
        images[0, 0, 0] = value
        with pytest.raises(ValueError, match=f"pixel value {value}: .* 0 … 299"):
            many.log_prob(images)


@pytest.mark.slow
def test_predict_rejects_codes_out_of_range_and_gives_nan_under_xla(many):
    many.compile("adam", run_eagerly=True)
    losses = tf.function(many._checked_losses, jit_compile=True)
    for code in (-1, 2**32):
        images = np.full((2, 2, 2, 1), code)
        images[0] = 299
        rule = "must be from 0 to 299"
        with pytest.raises(tf.errors.InvalidArgumentError, match=rule):
            many.predict(images, verbose=0)
        found = losses(tf.constant(images), None)
        assert np.isnan(found).tolist() == [False, True]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_levels": 257}, "num_levels=257: .* 2 to 256, .* need embedding_size"),
        (CODES | {"num_levels": 4097}, "num_levels=4097: must be from 2 to 4096"),
        ({"embedding_size": 0, "likelihood": "softmax"}, "embedding_size=0: must be 1"),
        ({"embedding_size": 8}, "embedding_size=8: .* set likelihood=softmax"),
        (CODES | {"energy_distance": True}, "likelihood=softmax: .* energy distance"),
    ],
)
def test_settings_that_codes_do_not_go_with_are_rejected(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ModelConfig(**settings)


def test_codes_of_several_channels_are_rejected():
    rule = r"embedding_size=5: .* these have 2; put .* \[N, H, W · C, 1\]"
    with pytest.raises(ValueError, match=rule):
        PixelCNNPP((4, 4, 2), **(SMALL | CODES))


def test_config_without_the_setting_is_one_of_pixel_values():
    values = json.loads(Config.of(nr_filters=3).to_json())
    del values["embedding_size"], values["model_hash"]
    values["model_hash"] = model_hash(values)  # As it was before the setting.
    assert Config.from_json(json.dumps(values)).model == ModelConfig(nr_filters=3)


@pytest.mark.parametrize("num_levels", [257, 4096])
def test_all_codes_survive_the_way_to_floats_and_back(num_levels):
    codes = np.arange(num_levels, dtype=np.int32)
    back = to_pixel_values(to_float(codes, num_levels), num_levels)
    np.testing.assert_array_equal(back, codes)


# Files and runs.


def write_codes(path, dtype=np.uint16, num_levels=512, shape=(4, 4, 1), n=24, **arrays):
    rng = np.random.default_rng(0)
    splits = {
        f"{split}_images": rng.integers(0, num_levels, (n, *shape)).astype(dtype)
        for split in data.SPLITS
    }
    labels = {f"{split}_labels": np.arange(n) % 2 for split in data.SPLITS}
    np.savez(path, num_levels=num_levels, **(splits | labels | arrays))
    return splits


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, ">u2", np.int64])
def test_npz_of_codes_is_read_as_int32(dtype, tmp_path):
    codes = write_codes(tmp_path / "a.npz", dtype)
    source = data.load("npz", str(tmp_path / "a.npz"), "train")
    assert (source.num_levels, source.image_shape) == (512, (4, 4, 1))
    found = np.stack([e["image"] for e in source.examples().as_numpy_iterator()])
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, codes["train_images"])


def test_npz_of_few_codes_of_any_type_is_read_as_uint8(tmp_path):
    write_codes(tmp_path / "a.npz", np.int64, num_levels=128)
    source = data.load("npz", str(tmp_path / "a.npz"), "test")
    assert next(iter(source.examples()))["image"].dtype == tf.uint8


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"train_images": np.full((9, 4, 4, 1), 512)},
            "pixel value 512 where num_levels",
        ),
        (
            {"train_images": np.full((9, 4, 4, 1), -1)},
            "pixel value -1 where num_levels",
        ),
        (
            {"train_images": np.zeros((9, 4, 4, 1))},
            "train_images is float64 where images",
        ),
        ({"num_levels": 4097}, "num_levels is one integer from 2 to 4096"),
    ],
)
def test_npz_of_wrong_codes_is_rejected_by_name(changes, message, tmp_path):
    write_codes(tmp_path / "a.npz")
    arrays = dict(np.load(tmp_path / "a.npz")) | changes
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.load("npz", str(tmp_path / "a.npz"), "train")


def test_codes_of_a_file_without_num_levels_are_rejected(tmp_path):
    np.savez(tmp_path / "a.npz", train_images=np.zeros((9, 4, 4, 1), np.uint16))
    with pytest.raises(ValueError, match="is uint16 where .* a key num_levels"):
        data.load("npz", str(tmp_path / "a.npz"), "train")


def test_images_of_another_number_of_codes_are_rejected(tmp_path):
    write_codes(tmp_path / "a.npz")
    source = data.load("npz", str(tmp_path / "a.npz"), "train")
    with pytest.raises(ValueError, match="images have 512 pixel .* --num_levels=512"):
        quantized(source, 256)
    shapes = data.load("shapes", None, "train", image_size=8)
    with pytest.raises(
        ValueError, match="images have 256 pixel values; give images of"
    ):
        quantized(shapes, 512)


TRAIN = (
    "-d npz -i codes.npz -o run -n 4 -b 8 -u 8 -p 0 -g 1 -ns 1 --field=11x5 "
    "--max_steps=3 --likelihood=softmax --num_levels=512 --embedding_size=6 "
    "--nojit_compile"
)


@pytest.mark.slow
def test_run_on_codes_trains_scores_samples_maps_and_is_exported(tmp_path):
    write_codes(tmp_path / "codes.npz")
    done = command_lines.run("train.py", f"{TRAIN} -c --mutation_rate=0.1", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    done = command_lines.run(
        "evaluate.py",
        "-o run --nojit_compile --heatmap --output_dir=out --output_json=a.json",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    bits = float(done.stdout.split("bits_per_dim = ")[1].split()[0])
    assert 8 < bits < 14  # Of random codes of 9 bits.
    done = command_lines.run("sample.py", "-o run -ns 4 --nojit_compile", tmp_path)
    assert done.returncode == 0, done.stderr
    sampled = np.load(tmp_path / "run" / "sampled" / "samples.npz")
    assert sampled["num_levels"] == 512 and sampled["images"].dtype == np.int32
    assert sampled["images"].max() > 255

    model, _ = checkpoint.load_model(str(tmp_path / "run"))
    images, labels = sampled["images"], sampled["labels"]
    nats = model.log_prob(images, labels).numpy()
    export.export(model, str(tmp_path / "served"), jit_compile=False)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures
    of = {"labels": tf.constant(labels, tf.int32)}
    ours = served["log_prob"](images=tf.constant(images), **of)
    np.testing.assert_allclose(ours["log_prob"], nats, rtol=1e-5)
    how = {"seed": tf.constant([0, 0]), "temperature": tf.constant(1.0)}
    np.testing.assert_array_equal(served["sample"](**how, **of)["images"], images)
    for value in (-1, 512):
        images[0, 0, 0, 0] = value
        with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 511"):
            served["log_prob"](images=tf.constant(images), **of)


@pytest.mark.slow
def test_keras_trains_saves_and_loads_a_model_of_codes(tmp_path):
    model = PixelCNNPP((4, 4, 1), **(SMALL | MANY), field="11x5")
    images = random_images(8, model)
    model.compile(keras.optimizers.Adam(0.01))
    first, *_, last = model.fit(
        images.astype(np.uint16), epochs=4, batch_size=8, verbose=0
    ).history["loss"]
    assert last < first
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.config.embedding_size == 5
    np.testing.assert_array_equal(loaded.log_prob(images), model.log_prob(images))
    assert len(loaded.parameters) == len(model.weights)
