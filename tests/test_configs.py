"""Every flagfile of configs/ says what it is about and takes two steps."""

import pathlib

import command_lines
import pytest

import train
from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.config import Config

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.cfg"))
# Their images and their size are another, all else is as it stands there.
TINY = "-n 4 -b 2 -u 4 --max_steps=2 -ns 0"
# What each is about.
TOLD = {
    "cifar10_class_conditional": {"num_labels": 3},
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
}


def test_configs_are_those_of_the_paper_and_the_official_code():
    others = {"cifar10", "cifar10_paper", "imagenet32", "imagenet64", "quickstart"}
    assert set(NAMES) == set(TOLD) | others


@pytest.mark.parametrize("name", NAMES)
def test_flagfile_takes_two_steps(name, npz_path, tmp_path):
    run = tmp_path / "run"
    line = f"--flagfile={CONFIGS / name}.cfg {TINY} -o {run}"
    images = "--image_size=8" if name == "quickstart" else f"-d npz -i {npz_path}"
    # A small field decides on the number of blocks.
    size = "" if name.startswith("field") else "-q 1"
    done = command_lines.run(train.main, f"{line} {images} {size}".split())
    assert done["code"] == 0, done["stderr"]
    assert checkpoint.list_checkpoints(str(run))[0][0] == 2
    config = Config.load(str(run / "config.json"))
    told = TOLD.get(name, {})
    assert {key: getattr(config, key) for key in told} == told
