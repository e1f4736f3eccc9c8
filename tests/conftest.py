"""What the tests share: data sets, commands, runs of train.py."""

import functools
import gc
import subprocess
import sys

import numpy as np
import pytest
from child_processes import ROOT


def pytest_collectstart():
    """Sets up TensorFlow before a test file imports it. Not in xdist's own process,
    which runs no tests: its workers would wait for it."""
    import tensorflow_settings  # noqa: F401


def pytest_sessionfinish():
    """Python need not look once more through all that the tests have left."""
    gc.freeze()


@pytest.fixture
def with_xla(monkeypatch):
    """Within, XLA compiles what it compiles by default."""
    import tensorflow_settings

    from pixel_cnn_pp import distribution

    monkeypatch.setattr(distribution, "xla_scope", tensorflow_settings.default_scope)


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
    import tensorflow_settings

    def run(*arguments, cwd=ROOT, timeout=300, **environment):
        command = [sys.executable, *map(str, arguments)]
        env = tensorflow_settings.USER_ENVIRONMENT | environment
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
