"""Config: checks and JSON."""

import json
import re

import pytest

from pixel_cnn_pp import config
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.layers import activations


def test_json_gives_back_the_config(tmp_path):
    config = Config.of(image_shape=(8, 12, 1), num_labels=3, max_steps=7, dropout_p=0.0)
    assert Config.from_json(config.to_json()) == config
    config.save(str(tmp_path / "config.json"))
    assert Config.load(str(tmp_path / "config.json")) == config
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_unknown_name_in_json_is_rejected():
    values = json.loads(Config.of().to_json()) | {"nr_flters": 3}
    with pytest.raises(ValueError, match="nr_flters"):
        Config.from_json(json.dumps(values))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"nr_filters": "x"}', "[" * 10**5]
)
def test_unreadable_config_file_is_rejected_by_name(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="config.json: not a readable config"):
        Config.load(str(path))


@pytest.mark.parametrize(
    "name, value",
    [
        ("nr_resnet", 0),
        ("nr_filters", -1),
        ("nr_logistic_mix", 0),
        ("batch_size", 0),
        ("init_batch_size", -3),
        ("save_interval", 0),
        ("log_interval", 0),
        ("save_steps", -1),
        ("num_samples", -1),
        ("max_epochs", 0),
        ("max_steps", 0),
        ("nr_gpu", 0),
        ("image_size", 0),
        ("seed", -1),
        ("seed", 2**31),
        ("seed", 2**63),
        ("batch_size", 10**30),
        ("max_steps", 2**63),
        ("max_epochs", 2**31),
        ("worker_timeout", 10**30),
        ("nr_resnet", 10**9),
        ("nr_filters", 2**31),
        ("nr_logistic_mix", 10**30),
        ("learning_rate", 1e39),
        ("learning_rate", 1e-300),
        ("num_levels", 1),
        ("num_levels", 257),
        ("dropout_p", 1.0),
        ("dropout_p", -0.1),
        ("dropout_p", 0.9999),
        ("dropout_p", float("nan")),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("lr_decay", 1.1),
        ("polyak_decay", 0.0),
        ("mutation_rate", -0.1),
        ("mutation_rate", 1.5),
        ("mutation_rate", float("nan")),
        ("weight_decay", -1.0),
        ("weight_decay", float("inf")),
        ("resnet_nonlinearity", "tanh"),
    ],
)
def test_value_that_is_not_allowed_is_rejected_with_its_flag(name, value):
    with pytest.raises(ValueError, match=re.escape(f"--{name}={value}: must be")):
        Config.of(**{name: value})


def test_names_of_nonlinearities_are_those_that_are_defined():
    assert set(config.NONLINEARITIES) == set(activations.NONLINEARITIES)


def test_defaults_are_the_official_ones():
    config = Config.of()
    model = config.model
    assert (model.nr_resnet, model.nr_filters, model.nr_logistic_mix) == (5, 160, 10)
    assert (config.learning_rate, config.lr_decay) == (0.001, 0.999995)
    assert (config.batch_size, config.init_batch_size) == (16, 16)
    assert (model.dropout_p, config.max_epochs, config.save_interval) == (0.5, 5000, 20)
    assert (config.polyak_decay, config.num_samples, config.seed) == (0.9995, 1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_levels": 16},
        {"resnet_nonlinearity": "relu"},
        {"class_names": ["b", "a"]},
        {"num_levels": None},
    ],
)
def test_config_whose_model_was_edited_is_rejected(tmp_path, changes):
    config = Config.of(num_labels=2, class_names=("a", "b"), num_levels=32)
    values = json.loads(config.to_json()) | changes
    values = {name: value for name, value in values.items() if value is not None}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="config.json: .*are not those that train.py"):
        Config.load(path)


def test_other_settings_may_be_edited_and_a_config_without_a_hash_is_read():
    values = json.loads(Config.of().to_json())
    edited = values | {"data_dir": "elsewhere"}
    assert Config.from_json(json.dumps(edited)).data_dir == "elsewhere"
    old = {name: value for name, value in values.items() if name != "model_hash"}
    assert Config.from_json(json.dumps(old)) == Config.of()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image_shape": None}, r"image_shape=None: must be tuple\[int, int, int\]"),
        ({"image_shape": "888"}, "image_shape='888': must be tuple"),
        ({"class_names": "ab", "num_labels": 2}, "class_names='ab': must be tuple"),
        ({"class_names": ["a"], "num_labels": 2}, "class_names=.*one for each of"),
        ({"run_id": 2**63}, "run_id=9223372036854775808: must be at most"),
    ],
)
def test_values_of_wrong_types_are_named(changes, message):
    values = json.loads(Config.of().to_json()) | changes
    del values["model_hash"]
    with pytest.raises(ValueError, match=message):
        Config.from_json(json.dumps(values))
