"""compile, fit, evaluate and predict: values, replicas, callbacks, bad input."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from pages import PAGES, README, blocks
from small_runs import random_batch, steps_on

from pixel_cnn_pp import OfficialAdam, PixelCNNPP, distribution, prng

pytestmark = pytest.mark.slow

MODEL = {
    "image_shape": (8, 8, 3),
    "field": "11x5",
    "nr_filters": 4,
    "nr_logistic_mix": 2,
    "dropout_p": 0.0,
}
IMAGES = random_batch(24)


def compiled(optimizer=None, eagerly=True, **changes):
    """A model to fit; a few eager steps take less time than the graph of one."""
    model = PixelCNNPP(**(MODEL | changes))
    optimizer = optimizer or OfficialAdam(images_per_step=8)
    model.compile(optimizer=optimizer, run_eagerly=eagerly)
    return model


def initialized(*arguments, **changes):
    model = compiled(*arguments, **changes)
    model.initialize((IMAGES.astype(np.float32) - 127.5) / 127.5)
    return model


@pytest.fixture(scope="module")
def fitted():
    """A model after two steps in graphs, and their history."""
    model = initialized(eagerly=False, dropout_p=0.5)
    data = {"batch_size": 12, "validation_data": IMAGES[:10], "shuffle": False}
    return model, model.fit(IMAGES, verbose=0, **data).history


@pytest.mark.parametrize("replicas", [1, 2])
def test_three_steps_are_those_of_train_py(replicas):
    # Dropout too: the masks follow from the same seed, step and replica.
    images = random_batch(16)
    state, losses = steps_on(
        replicas, 16 // replicas, 0.5, images, field="11x5", jit_compile=False
    )
    settings = {"dropout_p": 0.5, "seed": state.model.seed, "eagerly": replicas == 1}
    with distribution.make_strategy(replicas).scope():
        model = compiled(OfficialAdam(images_per_step=16), **settings)
        model.initialize((images.astype(np.float32) - 127.5) / 127.5)
    batches = tf.data.Dataset.from_tensors(images).repeat(3)
    history = model.fit(batches, epochs=3, steps_per_epoch=1, verbose=0).history
    np.testing.assert_allclose(history["loss"], np.divide(losses, 16), rtol=1e-5)
    for name, parameter in model.parameters.items():
        expected = state.parameters[name].numpy()
        error = np.linalg.norm(parameter.numpy() - expected)
        assert error <= 1e-5 * np.linalg.norm(expected) + 1e-6, name


def test_loss_is_the_mean_in_nats_and_the_metric_its_bits_per_dim(fitted):
    model, history = fitted
    log_prob = model.log_prob(IMAGES[:10]).numpy()
    found = model.evaluate(IMAGES[:10], batch_size=4, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(-log_prob.mean(), rel=1e-6)
    bits = -log_prob.mean() / (np.log(2) * 8 * 8 * 3)
    assert found["bits_per_dim"] == pytest.approx(bits, rel=1e-6)
    assert history["val_loss"] == [pytest.approx(found["loss"], rel=1e-6)]
    assert history["val_bits_per_dim"] == [pytest.approx(bits, rel=1e-6)]
    assert history.keys() == {"loss", "bits_per_dim", "val_loss", "val_bits_per_dim"}


def test_predict_gives_the_log_probability_of_each_image(fitted):
    model, _ = fitted
    found = model.predict(IMAGES, batch_size=24, verbose=0)
    np.testing.assert_array_equal(found, model.log_prob(IMAGES))


@pytest.mark.parametrize("method", ["fit", "train_on_batch"])
def test_first_batch_initialises_a_new_model_and_no_other(method):
    model = compiled(OfficialAdam(1e-30))
    getattr(model, method)(IMAGES[:8])
    expected = PixelCNNPP(**MODEL)
    expected.initialize((IMAGES[:8].astype(np.float32) - 127.5) / 127.5)
    for name, parameter in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[name], parameter, rtol=1e-6)
    model.fit(IMAGES[8:16], verbose=0)
    for name, parameter in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[name], parameter, rtol=1e-6)


def test_labelled_images_come_as_arrays_pairs_and_data_sets():
    model = compiled(num_labels=3)
    labels = np.arange(24) % 3
    pairs = tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(24)
    model.fit(pairs, verbose=0)
    loss = -model.log_prob(IMAGES, labels).numpy().mean()
    for data in [(IMAGES, labels), ((IMAGES, labels),), (pairs,)]:
        found, _ = model.evaluate(*data, verbose=0)
        assert found == pytest.approx(loss, rel=1e-6)
    found = model.predict(pairs, verbose=0)
    np.testing.assert_allclose(found, model.log_prob(IMAGES, labels), rtol=1e-6)


def test_partial_batches_of_replicas_count_each_image_once():
    # Five images on two replicas: three and two.
    losses, parameters = [], []
    for replicas in (1, 2):
        with distribution.make_strategy(replicas).scope():
            model = initialized(keras.optimizers.SGD(1e-5))
        model.fit(IMAGES[:5], batch_size=5, shuffle=False, verbose=0)
        losses.append(model.evaluate(IMAGES[:5], batch_size=5, verbose=0)[0])
        parameters.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    np.testing.assert_allclose(*parameters, rtol=1e-3, atol=1e-6)


def test_dropout_masks_differ_between_replicas_and_steps(monkeypatch):
    masks, seen = [], prng.keep_mask

    def record(shape, p, seed):
        mask = seen(shape, p, seed)
        masks.append(mask.numpy().tobytes())
        return mask

    with distribution.make_strategy(2).scope():
        model = initialized(dropout_p=0.5)
    monkeypatch.setattr(prng, "keep_mask", record)
    same = np.repeat(IMAGES[:1], 8, axis=0)
    model.fit(same, batch_size=4, verbose=0)
    blocks = sum(block.kind == "gated_resnet" for block in model.topology)
    assert len(masks) == blocks * 2 * 2
    assert len(set(masks)) == len(masks)


def test_training_goes_on_from_a_saved_model_as_if_it_had_not_stopped(tmp_path):
    whole = compiled(dropout_p=0.5)
    whole.fit(IMAGES[:8], epochs=2, shuffle=False, verbose=0)
    part = compiled(dropout_p=0.5)
    part.fit(IMAGES[:8], shuffle=False, verbose=0)
    part.save(tmp_path / "m.keras")
    part = keras.saving.load_model(tmp_path / "m.keras")
    part.fit(IMAGES[:8], shuffle=False, verbose=0)
    for name, parameter in whole.parameters.items():
        np.testing.assert_array_equal(part.parameters[name], parameter, err_msg=name)


def test_callbacks_of_keras_work(tmp_path):
    optimizer = OfficialAdam(images_per_step=8, use_ema=True, ema_momentum=0.5)
    model = compiled(optimizer)
    callbacks = keras.callbacks
    history = model.fit(
        IMAGES,
        batch_size=8,
        epochs=4,
        validation_data=IMAGES[:8],
        verbose=0,
        callbacks=[
            callbacks.SwapEMAWeights(swap_on_epoch=True),
            callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
            callbacks.TensorBoard(tmp_path / "logs"),
            callbacks.EarlyStopping("val_loss", patience=0, min_delta=1e9),
        ],
    ).history
    assert len(history["val_bits_per_dim"]) == 2  # Nothing is 1e9 better.
    assert list((tmp_path / "logs/train").iterdir())
    # What is saved and evaluated are the EMA parameters.
    saved = keras.saving.load_model(tmp_path / "2.keras")
    loss = saved.evaluate(IMAGES[:8], verbose=0)[0]
    assert loss == pytest.approx(history["val_loss"][1], rel=1e-5)


def append_weights(model, values, batch, logs):
    values.append(model.get_weights())


def test_use_ema_ends_with_the_ema_parameters():
    # Momentum .5, from the parameters after the first step: (p1 + p2) / 2.
    found = []
    for ema in ({}, {"use_ema": True, "ema_momentum": 0.5}):
        model = compiled(OfficialAdam(images_per_step=8, **ema))
        values = []
        record = keras.callbacks.LambdaCallback(
            on_train_batch_end=functools.partial(append_weights, model, values)
        )
        model.fit(IMAGES[:16], batch_size=8, verbose=0, shuffle=False, callbacks=record)
        found.append((values, model.get_weights()))
    ((first, second), _), (_, averages) = found
    for a, b, average in zip(first, second, averages, strict=True):
        np.testing.assert_allclose(average, (a + b) / 2, rtol=1e-5, atol=1e-7)


def test_mixed_bfloat16_trains_and_differs_by_rounding_alone(fitted):
    policy = keras.DTypePolicy("mixed_bfloat16")
    model = initialized(dropout_p=0.5, dtype=policy)
    assert model.precision == policy.name
    history = model.fit(IMAGES, batch_size=12, shuffle=False, verbose=0).history
    assert history["loss"] != fitted[1]["loss"]
    assert history["loss"] == pytest.approx(fitted[1]["loss"], rel=1e-2)


def test_precision_set_after_compile_takes_effect(fitted):
    model = compiled(eagerly=False)
    before = model.evaluate(IMAGES, verbose=0)
    model.set_precision("mixed_bfloat16")
    assert model.evaluate(IMAGES, verbose=0) != before


def test_energy_distance_trains_and_has_no_bits():
    model = compiled(energy_distance=True)
    history = model.fit(IMAGES[:8], verbose=0, validation_data=IMAGES[:8])
    assert history.history.keys() == {"loss", "val_loss"}
    assert np.isfinite(history.history["val_loss"]).all()
    with pytest.raises(ValueError, match="no likelihood"):
        model.predict(IMAGES, verbose=0)


def test_gradients_accumulate_to_those_of_the_whole_batch():
    found = []
    for batch_size, steps in ((16, None), (8, 2)):
        optimizer = OfficialAdam(images_per_step=16, gradient_accumulation_steps=steps)
        model = initialized(optimizer)
        model.fit(IMAGES[:16], batch_size=batch_size, verbose=0)
        found.append(model.get_weights())
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("make", [compiled, initialized])
@pytest.mark.parametrize(
    "images, message",
    [
        (IMAGES.astype(np.float32), r"float32 \[24, 8, 8, 3\]: this model takes uint8"),
        (IMAGES[:, :4], r"uint8 \[24, 4, 8, 3\]: this model takes uint8"),
    ],
)
def test_images_that_do_not_fit_are_rejected(make, images, message):
    with pytest.raises(ValueError, match=message):
        make().fit(images, verbose=0)


@pytest.mark.parametrize(
    "changes, arguments, message",
    [
        ({}, {"y": np.arange(24)}, "num_labels=None"),
        ({"num_labels": 3}, {}, "needs labels"),
        ({"num_labels": 3}, {"y": np.arange(24)}, "labels from 0 to 7"),
        (
            {"num_labels": 3},
            {"y": np.arange(24) % 3, "class_weight": {0: 1.0, 1: 2.0, 2: 1.0}},
            "every image counts once",
        ),
        ({}, {"sample_weight": np.ones(24)}, "every image counts once"),
        ({"num_labels": 3}, {"y": np.full(24, 2**32)}, "labels from 4294967296"),
        ({"num_labels": 3}, {"y": np.eye(3)[np.arange(24) % 3]}, "labels float64"),
    ],
)
def test_labels_that_do_not_fit_are_rejected(changes, arguments, message):
    with pytest.raises(ValueError, match=message):
        compiled(**changes).fit(IMAGES, batch_size=8, verbose=0, **arguments)


def test_labels_out_of_range_in_a_data_set_are_rejected():
    model = compiled(num_labels=3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be from 0 to 2"):
        model.evaluate(IMAGES, np.arange(24), verbose=0)


def test_values_out_of_range_are_rejected_and_nan_under_xla():
    model = compiled(num_labels=3, num_levels=32)
    model.initialize(np.zeros((2, 8, 8, 3)), [0, 1])
    losses = tf.function(model._checked_losses, jit_compile=True)
    for images, labels, message in [
        (IMAGES, np.arange(24) % 3, "pixel values: must be from 0 to 31"),
        (IMAGES // 8, np.full(24, 2**32), "labels: must be from 0 to 2"),
    ]:
        for method in (model.evaluate, model.fit):
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                method(images, labels, batch_size=8, verbose=0)
        # XLA leaves such checks out.
        assert np.isnan(losses(images[:8], labels[:8].clip(max=2**31 - 1))).all()


def test_metrics_are_float32_whatever_floatx_is():
    model = initialized()
    loss, _ = model.evaluate(IMAGES, verbose=0)
    keras.config.set_floatx("float16")
    model.compile("adam", run_eagerly=True)
    found, _ = model.evaluate(IMAGES, verbose=0)
    keras.config.set_floatx("float32")
    assert found == loss


def test_no_optimizer_and_another_loss_are_rejected():
    model = PixelCNNPP(**MODEL)
    with pytest.raises(ValueError, match=r"must call `compile\(\)`"):
        model.fit(IMAGES)
    model.compile("adam", loss="mse")
    with pytest.raises(ValueError, match=r"compile\(loss=…\): this model has its own"):
        model.fit(IMAGES)


def test_a_generator_needs_an_initialised_model():
    with pytest.raises(ValueError, match=r"generator: .* model.initialize"):
        compiled().fit(iter_batches())
    initialized().fit(iter_batches(), verbose=0)


def iter_batches():
    yield (IMAGES[:8],)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"learning_rate": float("nan")}, "learning_rate=nan: must be above 0"),
        ({"learning_rate": -1}, "learning_rate=-1: must be above 0"),
        ({"lr_decay": 0.0}, "lr_decay=0.0: must be above 0"),
        ({"images_per_step": 0}, "images_per_step=0: must be 1"),
    ],
)
def test_wrong_setting_of_the_optimizer_is_rejected(setting, message):
    with pytest.raises(ValueError, match=message):
        OfficialAdam(**setting)


def test_example_of_the_page_trains_saves_and_loads(tmp_path, monkeypatch):
    (code,) = blocks(PAGES["docs/keras.md"], "python")
    assert code in blocks(README, "python")
    monkeypatch.chdir(tmp_path)
    found = {}
    assert "nr_resnet=1" in code
    exec(code.replace("nr_resnet=1", "field='11x5'"), found)
    assert found["samples"].shape == (16, 8, 8, 3)
    assert found["bits_per_dim"] == pytest.approx(
        found["nats"] / (np.log(2) * 8 * 8 * 3), rel=1e-5
    )
    scores = [found[name].log_prob(found["images"][:4]) for name in ("model", "loaded")]
    np.testing.assert_array_equal(*scores)
