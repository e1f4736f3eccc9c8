"""Eight logical CPU devices for all tests, and what several of them share."""

import functools
import gc
import os
import pathlib
import subprocess
import sys

# Without what is set here.
USER_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES")
}
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# XLA compiles for longer than the tests run what it compiled. Without its fusion
# emitters and in one part of code it compiles a step in 8 s instead of 14.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops

# Building graphs makes many objects that live as long as their graph: by default
# Python looks through them for a tenth of the tests' time.
gc.freeze()
gc.set_threshold(20_000, 20, 20)

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 8,
)

# Rewriting the graphs takes longer than running them once or twice does.
# test_processes.py runs with TensorFlow's defaults.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# XLA, the default in part, compiles for longer than most tests run what it compiled.
# With it: test_sampling.py, what asks for it by name, and all that runs as a process.
from pixel_cnn_pp import distribution  # After the devices are set.

_default_scope = distribution.xla_scope


def _scope_without_xla(jit_compile):
    scope = _default_scope(jit_compile)
    return False if scope is None else scope


distribution.xla_scope = _scope_without_xla


@pytest.fixture
def with_xla(monkeypatch):
    """Within, XLA compiles what it compiles by default."""
    monkeypatch.setattr(distribution, "xla_scope", _default_scope)


def _create_device_dataset(*args, **kwargs):
    """Without the thread that tunes each device's input: on several devices the end of
    an iteration waits for it, up to a minute."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return _original(*args, **kwargs).with_options(options)


_original = multi_device_iterator_ops._create_device_dataset
multi_device_iterator_ops._create_device_dataset = _create_device_dataset


# test_processes.py runs it in a process of its own, with TensorFlow's defaults; by
# hand: pytest -n 0 --noconftest tests/test_golden.py
collect_ignore = ["test_golden.py"]


@pytest.fixture(scope="session")
def npz_path(tmp_path_factory):
    """A labelled data set of 40 training and 11 test images, 8×8×3."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(
        path,
        train_images=rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8),
        train_labels=np.arange(40) % 3,
        test_images=rng.integers(0, 256, (11, 8, 8, 3), dtype=np.uint8),
        test_labels=np.arange(11) % 3,
    )
    return str(path)


@pytest.fixture(scope="session")
def run_command():
    """Runs Python as a user does, with TensorFlow's defaults."""

    def run(*arguments, cwd=ROOT, timeout=300, **environment):
        command = [sys.executable, *map(str, arguments)]
        env = USER_ENVIRONMENT | environment
        return subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=env
        )

    return run


@pytest.fixture(scope="session")
def evaluate():
    """Runs a command line of evaluate.py in a folder, in the tests' process."""
    import command_lines

    return functools.partial(command_lines.run, "evaluate.py")


@pytest.fixture(scope="session")
def command_folder(npz_path, tmp_path_factory):
    """Where command lines are run: data sets, official checkpoints."""
    import command_folder

    folder = tmp_path_factory.mktemp("command_lines")
    command_folder.write_inputs(folder, npz_path)
    return folder


@pytest.fixture(scope="session")
def trained(command_folder):
    """A run of train.py after 11 steps, in the folder `run`."""
    from command_folder import RUN, Run
    from command_lines import run

    done = run("train.py", f"{RUN} --max_steps=11", command_folder)
    assert (done.returncode, done.stderr) == (0, "")
    return Run.read(done.stdout, command_folder / "run")


@pytest.fixture(scope="session")
def resumed(command_folder, trained):
    """The same run after two more steps, without samples; every row printed."""
    from command_folder import RUN, Run
    from command_lines import run

    line = f"{RUN} -ns 0 --max_steps=13 -r --verbosity=0"
    done = run("train.py", line, command_folder)
    assert done.returncode == 0, done.stderr
    return Run.read(done.stdout, command_folder / "run")


@pytest.fixture(scope="session")
def other_runs(command_folder):
    """A class-conditional run, one step on from an official checkpoint, and a step on
    pictures of which one is torn."""
    from command_folder import GOLDEN, GOLDEN_FLAGS, LABELLED, PICTURED, Run
    from command_lines import run

    lines = {
        "labelled": f"{LABELLED} --max_steps=2",
        "official": f"{GOLDEN} {GOLDEN_FLAGS} -o official -p 0 -ns 0 --max_steps=6 "
        "--nojit_compile",
        "pictured": f"{PICTURED} -ns 0 --max_steps=1",
    }
    found = {}
    for name, line in lines.items():
        done = run("train.py", line, command_folder)
        assert done.returncode == 0, done.stderr
        found[name] = Run.read(done.stdout, command_folder / name)
    return found
