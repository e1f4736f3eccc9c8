"""Workers of TF_CONFIG: they wait for each other, and each failure is one line."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import time

import pytest
from child_processes import Child
from command_lines import own_lines
from conftest import ROOT
from workers import free_addresses, tf_config

from pixel_cnn_pp import checkpoint, cluster, distribution

pytestmark = pytest.mark.slow

LINE = "-d npz --field=11x5 -n 2 -m 1 -b 2 -u 2 -p 0 -ns 0 --nojit_compile"


# train.py, which takes a second longer to write a checkpoint.
SLOW = """
import runpy, sys, time
sys.path.insert(0, {root!r})
import cli
from pixel_cnn_pp import checkpoint
write = checkpoint.write
checkpoint.write = lambda *arguments: (time.sleep(1), write(*arguments))
runpy.run_path({root!r} + "/train.py", run_name="__main__")
"""


def start(npz_path, folder, addresses, index, *flags, script=(ROOT / "train.py",)):
    """train.py as one of the workers, for one step."""
    return Child(
        *(*script, *LINE.split(), "--max_steps=1"),
        *("-i", npz_path, "-o", folder / "run", *flags),
        environment=os.environ | {"TF_CONFIG": tf_config(addresses, index)},
    )


def end(process):
    """Its exit status and the lines that the program itself wrote to stderr."""
    _, stderr = process.communicate(timeout=120)
    return process.returncode, own_lines(stderr)


def test_first_worker_waits_for_the_second(npz_path, tmp_path):
    addresses = free_addresses(2)
    early = start(npz_path, tmp_path, addresses, 0)
    early.wait_for("waiting")
    late = start(npz_path, tmp_path, addresses, 1)
    assert end(early) == (0, [f"waiting for {addresses[1]}"])
    assert end(late) == (0, [])


def test_signal_to_the_second_worker_ends_both_after_the_first_has_saved(
    npz_path, tmp_path
):
    addresses = free_addresses(2)
    flags = ("--max_steps=99999", "--save_steps=1")
    second = start(npz_path, tmp_path, addresses, 1, *flags)
    second.wait_for("waiting")
    slow = "-c", SLOW.format(root=str(ROOT))
    first = start(npz_path, tmp_path, addresses, 0, *flags, script=slow)
    while not any(step for step, _ in checkpoint.list_checkpoints(tmp_path / "run")):
        assert first.poll() is None and second.poll() is None, first.read("stderr")
        time.sleep(0.05)
    second.send_signal(signal.SIGTERM)
    code, (waiting, line) = end(second)
    assert waiting == f"waiting for {addresses[0]}"
    reached = checkpoint.list_checkpoints(tmp_path / "run")[0][0]
    remedy = f"resume with python train.py --resume --save_dir={tmp_path / 'run'}"
    assert (code, line) == (143, f"interrupted by SIGTERM at step {reached}; {remedy}")
    assert end(first) == (143, [line])


def test_worker_that_never_comes_ends_the_wait_in_one_line(npz_path, tmp_path):
    addresses = free_addresses(2)
    code, lines = end(start(npz_path, tmp_path, addresses, 0, "--worker_timeout=2"))
    assert code == 1
    waiting, error = lines
    assert waiting == f"waiting for {addresses[1]}"
    assert error.startswith(f"error: TF_CONFIG: {addresses[1]} did not answer for 2 s")
    assert "--worker_timeout" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_wait_at_once(signum, npz_path, tmp_path):
    addresses = free_addresses(2)
    process = start(npz_path, tmp_path, addresses, 0)
    process.wait_for("waiting")
    process.send_signal(signum)
    before = time.monotonic()
    assert process.wait(timeout=30) == 128 + signum
    assert time.monotonic() - before < 5
    by = "" if signum == signal.SIGINT else " by SIGTERM"
    assert own_lines(process.read("stderr"))[1:] == [f"interrupted{by}"]


def test_port_that_is_taken_is_one_line(npz_path, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = f"127.0.0.1:{taken.getsockname()[1]}"
        code, lines = end(start(npz_path, tmp_path, [own, *free_addresses(1)], 0))
    assert code == 1
    (line,) = lines
    assert line.startswith(f"error: TF_CONFIG: cannot listen at {own}")
    assert "Address already in use" in line


@pytest.fixture
def peer_that_ends(npz_path, tmp_path):
    """Starts a worker whose only peer ends as soon as it has answered."""

    def started(*flags):
        with socket.create_server(("127.0.0.1", 0)) as peer:
            address = f"127.0.0.1:{peer.getsockname()[1]}"
            addresses = [*free_addresses(1), address]
            process = start(npz_path, tmp_path, addresses, 0, *flags)
            peer.accept()[0].close()
        return process

    return started


def test_worker_whose_peer_ends_as_it_starts_ends_in_one_line(peer_that_ends, tmp_path):
    code, lines = end(peer_that_ends("--worker_timeout=2"))
    assert code == -signal.SIGKILL
    assert lines == [
        "error: TF_CONFIG: the workers did not start together within 2 s; one of them "
        "has ended since it answered. Start train.py on all again, or wait longer with "
        "--worker_timeout."
    ]
    assert not (tmp_path / "run").exists()


def test_signal_ends_a_worker_whose_peer_ends_as_it_starts(peer_that_ends):
    process = peer_that_ends()
    # It starts another process, and then waits within TensorFlow.
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not children.read_text():
        assert process.poll() is None, process.read("stderr")
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == -signal.SIGINT


def in_environment(monkeypatch, workers, index=0):
    monkeypatch.setenv("TF_CONFIG", tf_config(workers, index))


# 192.0.2.0/24 belongs to no machine, and .invalid to no network.
@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "host.invalid"])
@pytest.mark.parametrize("others", [[], ["127.0.0.1:2222"]])
def test_address_of_another_machine_is_named(host, others, monkeypatch):
    in_environment(monkeypatch, [f"{host}:2222", *others])
    with pytest.raises(OSError, match="TF_CONFIG: cannot listen at ") as error:
        distribution.make_strategy(None)
    assert f"{host}:2222" in str(error.value)


@pytest.mark.parametrize("host", ["host.invalid", "192.0.2.1"])
def test_address_that_answers_nobody_is_named(host, monkeypatch, capfd):
    own = free_addresses(1)
    in_environment(monkeypatch, [*own, f"{host}:2222"])
    with pytest.raises(OSError, match=f"TF_CONFIG: {host}:2222 did not answer for 1 s"):
        distribution.make_strategy(None, worker_timeout=1)
    assert capfd.readouterr().err == f"waiting for {host}:2222\n"


def test_worker_that_answers_the_second_try_is_not_named(monkeypatch, capfd):
    own, other = free_addresses(2)
    in_environment(monkeypatch, [own, other])
    with contextlib.ExitStack() as stack:

        def sleep(_):
            address = "127.0.0.1", int(other.rpartition(":")[2])
            stack.enter_context(socket.create_server(address))

        monkeypatch.setattr(cluster.time, "sleep", sleep)
        cluster.wait_for_workers(timeout=60)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "workers, reason",
    [
        (["a:0"], "address 'a:0' is no host:port"),
        (["a:65536"], "address 'a:65536' is no host:port"),
        (["a:1", "b:1", "a:1"], "address 'a:1' is there twice"),
    ],
)
def test_addresses_that_cannot_be_are_rejected(workers, reason, monkeypatch):
    in_environment(monkeypatch, workers)
    with pytest.raises(ValueError, match=f"^TF_CONFIG=.*{reason}"):
        distribution.make_strategy(None)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"worker"', "{", "nonsense"])
def test_text_that_is_no_json_object_is_rejected(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="^TF_CONFIG=.*it is JSON such as"):
        distribution.make_strategy(None)


def test_one_of_several_workers_without_a_cluster_is_rejected(monkeypatch):
    config = {"clusters": {"worker": ["a:1", "b:1"]}, "task": {"index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(ValueError, match="^TF_CONFIG=.*task index 1 without a cluster"):
        distribution.make_strategy(None)


def test_cluster_of_two_chiefs_is_rejected(monkeypatch):
    task = {"type": "chief", "index": 1}
    config = {"cluster": {"chief": ["a:1", "b:1"]}, "task": task}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(ValueError, match="^TF_CONFIG=.*cluster has 2 chiefs, not one"):
        distribution.make_strategy(None)
