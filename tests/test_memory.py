"""What cannot fit in memory is rejected, and what runs out of it is one line."""

import dataclasses
import math

import pytest
import tensorflow as tf

from pixel_cnn_pp import PixelCNNPP, memory
from pixel_cnn_pp.config import ModelConfig

OFFICIAL = ModelConfig()
SMALL = ModelConfig((8, 8, 3), nr_filters=4, nr_logistic_mix=2, field="11x5")


@pytest.fixture
def machine(monkeypatch):
    """Sets the memory of the machine, in bytes."""
    return lambda size: monkeypatch.setattr(memory, "machine_bytes", lambda: size)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resnet_nonlinearity": "relu"},
        {"likelihood": "softmax"},
        {"energy_distance": True},
        {"field": None, "nr_resnet": 1, "short_cuts": False},
        {"nr_logistic_mix": 300},
    ],
)
def test_parameters_that_fit_are_never_rejected(changes, machine):
    config = dataclasses.replace(SMALL, **changes)
    model = PixelCNNPP(**vars(config))
    machine(4 * sum(math.prod(p.shape) for p in model.parameters.values()))
    memory.check_parameters(config)


def test_estimate_of_the_official_parameters_is_nearly_half_of_them(machine):
    machine(4 * 4 * 53_000_000)  # It has 53.5 million.
    memory.check_parameters(OFFICIAL, copies=4)
    machine(4 * 4 * 24_000_000)
    with pytest.raises(
        ValueError, match="take at least .* in 4 copies .* give smaller"
    ):
        memory.check_parameters(OFFICIAL, copies=4)


@pytest.mark.parametrize(
    "changes",
    [{"nr_filters": 2**31 - 1}, {"nr_filters": 20_000}, {"nr_logistic_mix": 2**31 - 1}],
)
def test_model_that_no_machine_holds_is_rejected_as_it_is_made(changes):
    with pytest.raises(ValueError, match="the parameters take at least .* GiB"):
        PixelCNNPP(**changes)


@pytest.mark.parametrize("name", ["nr_resnet", "nin_blocks"])
def test_depth_has_a_bound(name):
    with pytest.raises(ValueError, match=f"^{name}=1001: must be from . to 1000"):
        ModelConfig(**{"field": "11x5", name: 1001})


def test_batch_is_rejected_beyond_what_its_feature_maps_leave(machine):
    # Four maps of 4 channels and 3 numbers of 2 components, at 64 pixels.
    image = 4 * 64 * (4 * 4 + 3 * 2)
    machine(100 * image)
    memory.check_batch("batch_size", 100, SMALL)
    with pytest.raises(ValueError, match="^--batch_size=101: .* give --batch_size=100"):
        memory.check_batch("batch_size", 101, SMALL)
    # 1 + 1 input layers and 2 + 2 + 1 gated resnets keep their outputs.
    image = 4 * 64 * (7 * 4 + 3 * 2)
    machine(100 * image)
    memory.check_batch("batch_size", 100, SMALL, training=True)
    with pytest.raises(ValueError, match="give --batch_size=100 or less"):
        memory.check_batch("batch_size", 101, SMALL, training=True)
    machine(image - 1)
    with pytest.raises(ValueError, match="give a smaller model or images"):
        memory.check_batch("batch_size", 1, SMALL, training=True)


def test_samples_of_batches_count_all_their_images():
    memory.check_samples(2**31 // 48, 48, 2)
    with pytest.raises(ValueError, match="--num_samples=44739243: .* give 44739242 or"):
        memory.check_samples(2**31 // 48 + 1, 48, 2)


@pytest.mark.parametrize(
    "error, line",
    [
        (
            MemoryError("Unable to allocate 9 GiB"),
            "out of memory (Unable to allocate 9 GiB); give a smaller --batch_size",
        ),
        (MemoryError(), "out of memory (MemoryError); give a smaller --batch_size"),
        (
            tf.errors.ResourceExhaustedError(
                None,
                None,
                "Graph execution error:\n\nDetected at node x defined at (most recent "
                "call last):\n  File f, line 1\n\nOOM with shape[9]\n\t [[{{node x}}]]",
            ),
            "out of memory (OOM with shape[9]); give a smaller --batch_size",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM with shape[9]\n[[node]]"),
            "out of memory (OOM with shape[9]); give a smaller --batch_size",
        ),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "a/b; No space left on device"
            ),
            "a/b; No space left on device",
        ),
    ],
)
def test_failed_allocation_is_one_line(error, line, capsys):
    from command_lines import entry_point

    cli = entry_point("export.py").module.cli
    with pytest.raises(SystemExit) as end, cli.errors_in_one_line():
        raise error
    printed = capsys.readouterr().err
    assert end.value.code == 1
    assert printed.startswith(f"error: {line}") and printed.count("\n") == 1
