"""What training needs on a GPU, as far as it shows without one."""

import json

import command_lines
import pytest
import tensorflow as tf
from gpu_placement import Placement
from small_runs import SMALL, write_untrained
from xla_kernels import kernels_of_xla

from pixel_cnn_pp import PixelCNNPP, distribution
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training.state import TrainState
from pixel_cnn_pp.training.step import TrainStep

pytestmark = pytest.mark.slow

SMALLEST = {"image_shape": (4, 4, 1), "nr_filters": 4, "field": "11x5"}


def placed(**settings):
    config = Config.of(**(SMALL | {"field": "11x5", "dropout_p": 0.5} | settings))
    strategy = tf.distribute.get_strategy()
    state = TrainState(config, strategy)
    step = TrainStep(state, config, strategy)
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
    strategy = tf.distribute.get_strategy()
    step = TrainStep(TrainState(config, strategy), config, strategy)
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


def test_run_takes_the_gpus_that_it_uses_alone_and_their_memory_bit_by_bit(
    monkeypatch, capsys
):
    gpu = Gpu(monkeypatch, (9, 0), (9, 0), (9, 0))
    distribution.show_gpus(2)
    assert [device.name for device in gpu.visible] == ["GPU:0", "GPU:1"]
    assert gpu.grow == gpu.visible
    assert tf.config.optimizer.get_experimental_options()["layout_optimizer"] is False
    assert distribution.devices_text(tf.distribute.get_strategy()) == "1 GPU (GPU)"
    assert capsys.readouterr().err == ""


def test_gpus_that_are_too_new_for_xla_are_reported(monkeypatch, capsys):
    Gpu(monkeypatch, (9, 0), (12, 0))
    distribution.show_gpus(1)
    assert capsys.readouterr().err == ""
    distribution.show_gpus()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: XLA of TensorFlow 2.21 cannot compile for these")


@pytest.mark.parametrize("capabilities, name", [([(9, 0)], "NCCL"), ([], "AUTO")])
def test_gradients_of_several_machines_are_summed_by_nccl_on_gpus(
    capabilities, name, monkeypatch
):
    Gpu(monkeypatch, *capabilities)
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster | {"index": 0}))
    monkeypatch.setattr(distribution.cluster, "workers", lambda: (["a:1", "b:1"], 0))
    monkeypatch.setattr(distribution.cluster, "wait_for_workers", lambda timeout: None)
    monkeypatch.setattr(
        distribution.cluster, "start_together", lambda make, timeout: make()
    )
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", lambda **options: options
    )
    options = distribution.make_strategy(None)["communication_options"]
    assert options.implementation.name == name


@pytest.mark.parametrize(
    "script, line, is_on",
    [
        ("train.py", "-d npz -i gone.npz -o new", True),
        ("train.py", "-d npz -i gone.npz -o new --notf32", False),
        ("evaluate.py", "-o run", False),
        ("evaluate.py", "-o run --tf32", True),
        ("sample.py", "-o run --complete_rows=1", False),
    ],
)
def test_float32_products_are_exact_in_scoring_and_sampling(
    script, line, is_on, tmp_path
):
    # Each ends at its images, which are gone, after this is set.
    write_untrained(tmp_path / "run", field="11x5", data_set="npz", data_dir="gone.npz")
    tf.config.experimental.enable_tensor_float_32_execution(not is_on)
    done = command_lines.run(script, line, tmp_path)
    assert "gone.npz" in done.stderr
    assert tf.config.experimental.tensor_float_32_execution_enabled() == is_on


def test_driver_without_a_gpu_that_tensorflow_can_use_is_reported(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(distribution, "DRIVER", str(tmp_path))
    distribution.show_gpus(1)
    assert capsys.readouterr().err == ""  # CUDA_VISIBLE_DEVICES hides them here.
    for visible in ("0,1", None):  # A scheduler sets it.
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        distribution.show_gpus(1)
        assert "TensorFlow finds no GPU" in capsys.readouterr().err
    monkeypatch.setattr(distribution, "DRIVER", str(tmp_path / "none"))
    distribution.show_gpus(1)
    assert capsys.readouterr().err == ""


def test_sampler_takes_up_to_1024_images_at_a_time_on_a_gpu(monkeypatch):
    assert PixelCNNPP(**SMALLEST).sampler.batch_sizes[-1] == 64
    Gpu(monkeypatch, (9, 0))
    assert PixelCNNPP(**SMALLEST).sampler.batch_sizes[-1] == 1024


def test_without_xla_neither_training_nor_scoring_nor_sampling_has_kernels_of_it():
    config = Config.of(**SMALL, field="11x5", jit_compile=False)
    strategy = tf.distribute.get_strategy()
    state = TrainState(config, strategy)
    step = TrainStep(state, config, strategy)
    images = tf.zeros([4, 8, 8, 3], tf.uint8)
    step = step.compiled.get_concrete_function({"image": images}, tf.constant(0.0))
    assert kernels_of_xla(step.graph.as_graph_def()) == []
    model = state.ema_model
    scored = model._compiled_log_prob.get_concrete_function(images, None)
    assert kernels_of_xla(scored.graph.as_graph_def()) == []
    sample = model.sampler.sample.get_concrete_function()
    assert kernels_of_xla(sample.graph.as_graph_def()) == []
    model.set_jit_compile(True)
    sample = model.sampler.sample.get_concrete_function()
    assert kernels_of_xla(sample.graph.as_graph_def()) != []
