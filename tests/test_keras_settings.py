"""The model as Keras and TensorFlow save and copy it, and under the user's settings."""

import copy
import functools
import os
import pickle
import subprocess
import sys

import child_processes
import command_lines
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from small_models import SMALL, initialized, random_images, to_float

import pixel_cnn_pp
from pixel_cnn_pp import PixelCNNPP, checkpoint

pytestmark = pytest.mark.slow

VARIANTS = {
    "mixture": {"num_labels": 3},
    "one_stage": {"field": "15x8", "nin_blocks": 1},
    "softmax": {"likelihood": "softmax", "num_levels": 8, "field": "11x5"},
    "continuous": {"likelihood": "mix_logistic_continuous", "field": "11x5"},
    "channels": {"autoregressive_channels": True, "field": "11x5"},
    "energy": {"energy_distance": True, "field": "11x5"},
}
SHAPE = (4, 4, 3)
SEED = tf.constant([0, 1])


def of_variant(variant):
    """An initialised model, so that all of its weights count."""
    return initialized(SHAPE, **VARIANTS[variant])


@functools.cache
def shared(variant):
    """One for all tests that do not change it."""
    return of_variant(variant)


def output(model):
    """The network's output, for five images."""
    labels = np.arange(5) % 3 if model.num_labels else None
    return model(to_float(random_images(5, model), model), labels, seed=SEED).numpy()


@functools.cache
def shared_output(variant):
    return output(shared(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_tf_checkpoint_holds_all_variables_and_restores_them(variant, tmp_path):
    model = shared(variant)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    saved = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    saved.pop("_CHECKPOINTABLE_OBJECT_GRAPH")
    assert len(saved) == len(model.parameters)
    fresh = PixelCNNPP(SHAPE, **(SMALL | VARIANTS[variant]), seed=9)
    tf.train.Checkpoint(model=fresh).read(path).assert_consumed()
    np.testing.assert_array_equal(output(fresh), shared_output(variant))


def test_checkpoint_of_other_variables_is_not_consumed(tmp_path):
    path = tf.train.Checkpoint(model=shared("mixture")).write(str(tmp_path / "c"))
    other = PixelCNNPP(SHAPE, **SMALL)  # Without labels.
    status = tf.train.Checkpoint(model=other).read(path)
    with pytest.raises(AssertionError):
        status.assert_consumed()
    status.expect_partial()  # No warnings when the tests end.


@pytest.mark.parametrize("variant", VARIANTS)
def test_keras_weights_are_the_parameters_once_and_come_back(variant, tmp_path):
    model = shared(variant)
    assert len(model.weights) == len(model.parameters)
    assert {id(w) for w in model.weights} == {id(w) for w in model.parameters.values()}
    lines = []
    model.summary(print_fn=lines.append)
    assert f"Total params: {model.count_params():,}" in "".join(lines)
    model.save_weights(tmp_path / "a.weights.h5")
    fresh = PixelCNNPP(SHAPE, **(SMALL | VARIANTS[variant]), seed=9)
    fresh.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(output(fresh), shared_output(variant))


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copy_has_the_weights_and_shares_none(duplicate):
    # Keras copies by saving and loading, which the next test does to every variant.
    model, before = shared("mixture"), shared_output("mixture")
    twin = duplicate(model)
    assert twin.name == model.name and twin.get_config() == model.get_config()
    np.testing.assert_array_equal(output(twin), before)
    for variable in twin.tf_variables().values():
        variable.assign(variable + 1.0)
    np.testing.assert_array_equal(output(model), before)


def saved_and_loaded(model, folder):
    model.save(folder / "m.keras")
    return keras.saving.load_model(folder / "m.keras")


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_model_comes_back_whole(variant, tmp_path):
    model = shared(variant)
    twin = saved_and_loaded(model, tmp_path)
    assert type(twin) is PixelCNNPP and twin.get_config() == model.get_config()
    for name, parameter in model.parameters.items():
        np.testing.assert_array_equal(twin.parameters[name], parameter)
        assert twin.parameters[name].path == name
    np.testing.assert_array_equal(output(twin), shared_output(variant))


def test_model_is_loaded_by_a_process_that_only_imports_the_package(tmp_path):
    model = of_variant("mixture")
    model.class_names = ("cat", "dog", "emu")
    model.compile(optimizer=pixel_cnn_pp.OfficialAdam())
    model.save(tmp_path / "m.keras")
    done = child_processes.run(
        "-c",
        "import pixel_cnn_pp, keras; "
        f"m = keras.saving.load_model({str(tmp_path / 'm.keras')!r}); "
        "print(m.class_names, type(m.optimizer).__name__)",
    )
    assert (done.returncode, done.stdout) == (
        0,
        "('cat', 'dog', 'emu') OfficialAdam\n",
    ), done.stderr


def test_weights_stand_in_the_file_under_their_official_names(tmp_path):
    model = shared("mixture")
    model.save_weights(tmp_path / "m.weights.h5")
    found = {}

    def collect(path, item):
        if isinstance(item, h5py.Dataset):
            layer = item.parent.attrs["name"]
            found[f"{layer}/{path.rpartition('/')[2]}"] = item[()]

    with h5py.File(tmp_path / "m.weights.h5") as file:
        file.visititems(collect)
    assert found.keys() == model.parameters.keys()
    for name, parameter in model.parameters.items():
        np.testing.assert_array_equal(found[name], parameter)


def test_saved_model_keeps_what_was_set_since_and_scores_and_samples_the_same(tmp_path):
    model = of_variant("continuous")
    images = random_images(2, model)
    plain = model.log_prob(images)
    model.set_precision("mixed_bfloat16")
    model.round_kernels()
    model.set_dequantization_draws(2)
    model.set_jit_compile(True)
    model.set_remat(True)
    model.class_names = ("cat", "dog")
    scores = model.log_prob(images)
    assert np.all(scores != plain)
    sample = model.sample(1, seed=0)
    twin = saved_and_loaded(model, tmp_path)
    np.testing.assert_array_equal(twin.log_prob(images), scores)
    np.testing.assert_array_equal(twin.sample(1, seed=0), sample)
    assert twin.fuses and twin.remat and twin.class_names == model.class_names


def set_policy(name):
    return lambda: keras.config.set_dtype_policy(name)


SETTINGS = {
    "float64": lambda: keras.config.set_floatx("float64"),
    "float16": lambda: keras.config.set_floatx("float16"),
    "channels_first": lambda: keras.config.set_image_data_format("channels_first"),
    "epsilon": lambda: keras.config.set_epsilon(1e-2),
    "mixed_float16": set_policy("mixed_float16"),
    "mixed_bfloat16": set_policy("mixed_bfloat16"),
    "float64 policy": set_policy("float64"),
}


def set_several():
    for name in ("float16", "channels_first", "epsilon", "mixed_bfloat16"):
        SETTINGS[name]()


@pytest.fixture
def restored_settings():
    config = keras.config
    before = config.floatx(), config.image_data_format(), config.epsilon()
    policy = config.dtype_policy()
    yield
    config.set_floatx(before[0])
    config.set_image_data_format(before[1])
    config.set_epsilon(before[2])
    config.set_dtype_policy(policy)


def all_results(variant):
    """Initialised weights, output, loss and gradients."""
    model = of_variant(variant)
    images = random_images(5, model)
    labels = np.arange(5) % 3 if model.num_labels else None
    results = [*model.tf_variables().values(), output(model)]
    with tf.GradientTape() as tape:
        loss = model.image_loss(images, labels, training=True, seed=SEED)
    results += [loss, *tape.gradient(loss, list(model.tf_variables().values()))]
    return [np.asarray(result) for result in results]


@functools.cache
def results_by_default(variant):
    return all_results(variant)


def assert_same_results(variant, expected):
    for ours, theirs in zip(all_results(variant), expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_keras_settings_change_no_bit_of(variant, restored_settings):
    expected = results_by_default(variant)
    set_several()
    assert_same_results(variant, expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_bit_is_changed_by(setting, restored_settings):
    expected = results_by_default("softmax")
    SETTINGS[setting]()
    assert_same_results("softmax", expected)


def test_keras_settings_change_no_sample_and_no_score(restored_settings):
    images = random_images(2, shared("softmax"))

    def sample_and_score():
        model = of_variant("softmax")
        return model.sample(1, seed=0), model.log_prob(images)

    expected = sample_and_score()
    set_several()
    for ours, theirs in zip(sample_and_score(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def run_python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy"])
def test_import_names_another_keras_backend_and_the_remedy(backend):
    code, lines = run_python("import pixel_cnn_pp", KERAS_BACKEND=backend)
    assert code == 1
    assert lines[-1].startswith(f"ImportError: KERAS_BACKEND={backend}: ")
    assert "unset KERAS_BACKEND" in lines[-1]


def test_import_after_keras_with_another_backend_names_it():
    late = "import keras; keras.config.backend = lambda: 'jax'; import pixel_cnn_pp"
    code, lines = run_python(late, KERAS_BACKEND="tensorflow")
    assert code == 1
    assert lines[-1].startswith("ImportError: KERAS_BACKEND=jax: ")


@pytest.mark.parametrize("settings", ["[]", '{"epsilon": "x"}', '{"floatx": "int8"}'])
def test_command_line_names_settings_that_keras_cannot_read(settings, tmp_path):
    (tmp_path / "keras.json").write_text(settings)
    code, lines = run_python("import cli", KERAS_HOME=str(tmp_path))
    assert code == 1
    assert lines[-1].startswith(f"error: {tmp_path}/keras.json: Keras cannot read it")
    assert "Traceback" not in "".join(lines)


def test_command_line_trains_the_same_under_any_keras_settings(
    run_command, npz_path, tmp_path
):
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float16", "backend": "jax", "image_data_format": "channels_first"}'
    )
    line = (
        f"-d npz -i {npz_path} --field=11x5 -n 2 -m 1 -b 2 -u 2 --max_steps=1 -ns 0 "
        "--nojit_compile"
    )
    default = command_lines.run("train.py", f"{line} -o default", tmp_path)
    settings = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"}
    line = [ROOT / "train.py", *line.split(), "-o", tmp_path / "told"]
    told = run_command(*line, **settings)
    found = []
    for name, done in ("default", default), ("told", told):
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        prefix = checkpoint.list_checkpoints(tmp_path / name)[0][1]
        found.append(tf.train.load_checkpoint(prefix))
    default, told = found
    for key in default.get_variable_to_shape_map():
        if key.startswith(("parameters", "averages")):
            np.testing.assert_array_equal(told.get_tensor(key), default.get_tensor(key))
