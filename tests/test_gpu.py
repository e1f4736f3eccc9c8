"""What training needs on a GPU, as far as it shows without one."""

import pytest
import tensorflow as tf
from gpu_placement import Placement
from small_runs import SMALL
from xla_kernels import kernels_of_xla

from pixel_cnn_pp import PixelCNNPP, distribution
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training.state import TrainState
from pixel_cnn_pp.training.step import TrainStep

pytestmark = pytest.mark.slow

SMALLEST = {"image_shape": (4, 4, 1), "nr_filters": 4, "field": "11x5"}


def placed(**settings):
    config = Config.of(**(SMALL | {"field": "11x5", "dropout_p": 0.5} | settings))
    state = TrainState(config)
    step = TrainStep(state, config, tf.distribute.get_strategy())
    batch = {"image": tf.zeros([4 * config.accumulate, 8, 8, 3], tf.uint8)}
    if config.model.num_labels:
        batch["label"] = tf.zeros([4 * config.accumulate], tf.int32)
    function = step.compiled.get_concrete_function(batch, tf.constant(0.0))
    of_replicas = set(state.sums)
    on_host = [v for name, v in state.counters.items() if name not in of_replicas]
    return Placement(function, on_host)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"jit_compile": False, "accumulate": 2, "remat": True},
        {"jit_compile": True, "precision": "mixed_bfloat16", "num_labels": 3},
        {"jit_compile": False, "energy_distance": True, "batch_size": 4},
    ],
    ids=str,
)
def test_no_operation_of_a_step_lacks_a_gpu_kernel_or_makes_a_gpu_wait(settings):
    step = placed(**settings)
    assert step.without_kernel == []
    assert step.copies == []


def test_step_that_xla_compiles_whole_is_three_calls_of_xla():
    config = Config.of(**SMALL, field="11x5", jit_compile=True)
    step = TrainStep(TrainState(config), config, tf.distribute.get_strategy())
    batch = {"image": tf.zeros([4, 8, 8, 3], tf.uint8)}
    graph = step.compiled.get_concrete_function(batch, tf.constant(0.0)).graph
    graph_def = graph.as_graph_def()
    compiled = kernels_of_xla(graph_def)
    called = [node.attr["f"].func.name for node in graph_def.node]
    # Gradients, their norm, the update.
    assert len([name for name in called if name in compiled]) == 3


def test_placement_finds_an_operation_without_gpu_kernel_and_a_copy_to_the_host():
    @tf.function
    def function(x):
        parts = tf.split(tf.cast(x, tf.uint64), 2)
        with tf.device("CPU:0"):
            return parts[0], tf.exp(x)

    found = Placement(function.get_concrete_function(tf.zeros([2])), [])
    assert [name.split()[0] for name in found.without_kernel] == ["Split"]
    assert [name.split(" → ")[1].split()[0] for name in found.copies] == [
        "Split",
        "Exp",
    ]


class Gpu:
    """Monkeypatches TensorFlow's list of devices: GPUs of these capabilities."""

    def __init__(self, monkeypatch, *capabilities):
        gpus = [
            tf.config.PhysicalDevice(f"GPU:{i}", "GPU")
            for i in range(len(capabilities))
        ]
        self.visible, self.grow = gpus, []
        config, experimental = tf.config, tf.config.experimental

        def of_kind(devices):
            return lambda kind=None: devices() if kind == "GPU" else []

        visible = of_kind(lambda: self.visible)

        def set_visible(devices, kind):
            self.visible = devices

        monkeypatch.setattr(config, "list_physical_devices", of_kind(lambda: gpus))
        monkeypatch.setattr(config, "list_logical_devices", visible)
        monkeypatch.setattr(config, "get_visible_devices", visible)
        monkeypatch.setattr(config, "set_visible_devices", set_visible)
        monkeypatch.setattr(
            experimental, "set_memory_growth", lambda gpu, on: self.grow.append(gpu)
        )
        monkeypatch.setattr(
            experimental,
            "get_device_details",
            lambda gpu: {"compute_capability": capabilities[gpus.index(gpu)]},
        )


@pytest.mark.parametrize(
    "capabilities, flag, scope",
    [
        ([], None, None),
        ([], True, True),
        ([(9, 0)], None, True),
        ([(8, 6), (9, 0)], None, True),
        ([(8, 0), (12, 0)], None, False),
        ([(12, 0)], True, True),  # The user knows better.
        ([(9, 0)], False, False),
    ],
)
def test_xla_compiles_whole_steps_on_gpus_that_it_supports(
    capabilities, flag, scope, monkeypatch, with_xla
):
    Gpu(monkeypatch, *capabilities)
    assert distribution.xla_scope(flag) is scope


def test_run_takes_the_gpus_that_it_uses_alone_and_their_memory_bit_by_bit(monkeypatch):
    gpu = Gpu(monkeypatch, (9, 0), (9, 0), (9, 0))
    distribution.show_gpus(2)
    assert [device.name for device in gpu.visible] == ["GPU:0", "GPU:1"]
    assert gpu.grow == gpu.visible


def test_driver_without_a_gpu_that_tensorflow_can_use_is_told(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(distribution, "DRIVER", str(tmp_path))
    distribution.show_gpus(1)
    assert capsys.readouterr().err == ""  # CUDA_VISIBLE_DEVICES hides them here.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    distribution.show_gpus(1)
    assert "TensorFlow finds no GPU" in capsys.readouterr().err
    monkeypatch.setattr(distribution, "DRIVER", str(tmp_path / "none"))
    distribution.show_gpus(1)
    assert capsys.readouterr().err == ""


def test_sampler_takes_up_to_1024_images_at_a_time_on_a_gpu(monkeypatch):
    assert PixelCNNPP(**SMALLEST).sampler.batch_sizes[-1] == 64
    Gpu(monkeypatch, (9, 0))
    assert PixelCNNPP(**SMALLEST).sampler.batch_sizes[-1] == 1024


def test_without_xla_neither_training_nor_sampling_has_kernels_of_it():
    config = Config.of(**SMALL, field="11x5", jit_compile=False)
    model = TrainState(config).ema_model
    sample = model.sampler.sample.get_concrete_function()
    assert kernels_of_xla(sample.graph.as_graph_def()) == []
    model.set_jit_compile(True)
    sample = model.sampler.sample.get_concrete_function()
    assert kernels_of_xla(sample.graph.as_graph_def()) != []
