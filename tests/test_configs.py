"""Every flagfile of configs/ makes the model that its name says; three take steps."""

import pathlib

import numpy as np
import pytest
from command_lines import FLAGS, entry_point, run

from pixel_cnn_pp import PixelCNNPP, checkpoint
from pixel_cnn_pp.config import Config

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.cfg"))
# What each is about.
SETTINGS = {
    "cifar10_class_conditional": {"class_conditional": True},
    "softmax": {"likelihood": "softmax"},
    "continuous": {"likelihood": "mix_logistic_continuous"},
    "no_short_cuts": {"short_cuts": False},
    "no_dropout": {"dropout_p": 0},
    "field_11x5": {"field": "11x5", "nin_blocks": 0, "autoregressive_channels": False},
    "field_11x5_nin": {"field": "11x5", "nin_blocks": 3},
    "field_11x5_channels": {"field": "11x5", "autoregressive_channels": True},
    "field_15x8": {"field": "15x8", "nin_blocks": 0, "autoregressive_channels": False},
    "field_15x8_nin": {"field": "15x8", "nin_blocks": 3},
    "field_15x8_channels": {"field": "15x8", "autoregressive_channels": True},
    "energy_distance": {"energy_distance": True},
    "fashion_mnist": {
        "data_set": "fashion_mnist",
        "class_conditional": True,
        "nr_resnet": 2,
        "nr_filters": 32,
        "lr_decay": 0.99998,
    },
}


def config_of(name: str) -> Config:
    """The Config that train.py makes of a flagfile, before it looks at the images."""
    point = entry_point("train.py")
    with point.registered():
        FLAGS(["train", f"--flagfile={CONFIGS / name}.cfg"])
        return Config.of(**point.module.settings_from_flags())


def test_configs_are_those_of_the_paper_and_the_official_code():
    others = {"cifar10", "cifar10_paper", "imagenet32", "imagenet64", "quickstart"}
    assert set(NAMES) == set(SETTINGS) | others


@pytest.mark.parametrize("name", NAMES)
def test_flagfile_has_the_settings_that_its_name_says(name):
    config = config_of(name)
    found = vars(config) | vars(config.model)
    wanted = SETTINGS.get(name, {})
    assert {key: found[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_model_of_a_flagfile_has_the_output_of_its_likelihood(name):
    config = config_of(name)
    # Its topology and head with few blocks, few filters and small images.
    few = {"image_shape": (4, 4, 3), "nr_resnet": 1, "nr_filters": 2}
    labels = None
    if config.class_conditional:
        few["num_labels"], labels = 10, np.array([9])
    model = PixelCNNPP(**vars(config.model) | few)
    output = model(np.zeros([1, 4, 4, 3], np.float32), labels, seed=(0, 1))
    k = config.model.nr_logistic_mix
    shape = {
        # 3 logits and 3 coefficients for each of 256 values.
        "softmax": (1, 4, 4, 6 * 256),
        # 10 samples of an image.
        "energy_distance": (10, 1, 4, 4, 3),
    }.get(name, (1, 4, 4, 10 * k))
    assert output.shape == shape


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, line",
    [
        ("field_11x5_channels", ""),
        ("cifar10_class_conditional", "--field=11x5"),
        ("continuous", "--field=11x5"),
    ],
)
def test_flagfile_takes_two_steps(name, line, command_folder):
    # Small and short; all else is as it stands there.
    small = "-d npz -i labelled.npz -n 4 -b 2 -u 4 --max_steps=2 -ns 0"
    line = f"--flagfile={CONFIGS / name}.cfg {small} {line} -o config_{name}"
    done = run("train.py", line, command_folder)
    assert (done.returncode, done.stderr) == (0, "")
    checkpoints = checkpoint.list_checkpoints(str(command_folder / f"config_{name}"))
    assert checkpoints[0][0] == 2
