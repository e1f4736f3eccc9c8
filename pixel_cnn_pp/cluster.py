"""The workers of TF_CONFIG: checks, and the wait for all of them."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pixel_cnn_pp.errors import tensorflow_reason

# They ask a process to end. SIGHUP: the terminal was closed; SIGUSR1, SIGUSR2, SIGXCPU:
# some schedulers send them before they kill.
SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)


def handle_signals(handler: Callable | signal.Handlers) -> dict[int, Any]:
    """Sets the handler of SIGNALS, in the main thread alone; returns those before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {signum: signal.signal(signum, handler) for signum in SIGNALS}


def restore_signals(handlers: dict[int, Any]) -> None:
    """Sets the handlers that `handle_signals` returned."""
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def workers() -> tuple[list[str], int]:
    """Addresses of the workers of TF_CONFIG, the chief's first, and which of them this
    is; none without TF_CONFIG. ValueError if it is wrong."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return [], 0
    try:
        if not isinstance(json.loads(text), dict):
            raise ValueError("it is no JSON object")
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        jobs = resolver.cluster_spec().as_dict()
        job, index = resolver.task_type, resolver.task_id
        if not jobs:
            if index:
                raise ValueError(f"task index {index} without a cluster")
            return [], 0
        _check_cluster(jobs, job, index)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"TF_CONFIG={text}: {error}; it is JSON such as "
            '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", '
            '"index": 0}}, and without it one machine is used.'
        ) from error
    addresses = [*jobs.get("chief", ()), *jobs.get("worker", ())]
    return addresses, addresses.index(jobs[job][index])


def position() -> tuple[int, int]:
    """Which machine of TF_CONFIG this is, the chief being 0, and how many there are;
    (0, 1) without TF_CONFIG. ValueError if it is wrong."""
    addresses, index = workers()
    return index, max(1, len(addresses))


def _check_cluster(jobs: dict[str, list[str]], job: str | None, index) -> None:
    """Raises ValueError if a cluster is none of chief and workers with this task."""
    if others := set(jobs) - {"chief", "worker"}:
        raise ValueError(f"cluster has the job {min(others)!r}, not chief or worker")
    if len(jobs.get("chief", ())) > 1:
        raise ValueError(f"cluster has {len(jobs['chief'])} chiefs, not one")
    if job not in jobs:
        raise ValueError(f"task type {job!r} is none of {', '.join(jobs)}")
    if index not in range(len(jobs[job])):
        raise ValueError(f"task index {index!r} is not below {len(jobs[job])}")
    addresses = list(itertools.chain(*jobs.values()))
    for address in addresses:
        is_address = re.fullmatch(r".+:[0-9]{1,5}", address)
        if not is_address or not 0 < _host_and_port(address)[1] < 2**16:
            raise ValueError(f"address {address!r} is no host:port")
        if addresses.count(address) > 1:
            raise ValueError(f"address {address!r} is there twice")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)  # IPv6: [::1]:2222.


def wait_for_workers(timeout: int) -> None:
    """Waits until every worker of TF_CONFIG listens at its address.

    TensorFlow would wait for them without a word, and ignore signals. Meanwhile this
    worker listens at its own address; the kernel completes connections that nobody
    accepts. Once it has reached all others, TensorFlow's server takes over its port and
    answers the slower ones. Raises OSError that names TF_CONFIG and the address.
    """
    addresses, index = workers()
    with _listen(addresses.pop(index)):
        for address in sorted(addresses):
            _wait_for(address, timeout)


def _listen(address: str) -> socket.socket:
    """A listening socket at the port of this worker's address."""
    host, port = _host_and_port(address)
    try:
        family, *_, at_host = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(at_host)  # Fails where the host is another machine.
        # At all of the machine's addresses, for others may know the host by another.
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(
            ("", port), family=family, backlog=4096, dualstack_ipv6=dual
        )
    except OSError as error:
        raise OSError(
            f"TF_CONFIG: cannot listen at {address}, the address of this worker "
            f"({error.strerror}); give an address of this machine and a free port, "
            "and each machine its own task index."
        ) from error


def _wait_for(address: str, timeout: int) -> None:
    """Tries once a second to connect to another worker."""
    deadline = time.monotonic() + timeout
    for tries in itertools.count(1):
        reason = _why_unreachable(address)
        if not reason:
            return
        # At the first, its port may just pass from `_listen` to TensorFlow's server.
        if tries == 2:
            print(f"waiting for {address}", file=sys.stderr, flush=True)
        if time.monotonic() > deadline:
            raise OSError(
                f"TF_CONFIG: {address} did not answer for {timeout} s ({reason}); "
                "start train.py there too, or wait longer with --worker_timeout."
            )
        time.sleep(1)


def _why_unreachable(address: str) -> str:
    """Empty if something listens at the address."""
    try:
        with socket.create_connection(_host_and_port(address), timeout=1) as connection:
            # Where nobody listens on this machine, a socket can connect to itself.
            is_self = connection.getsockname() == connection.getpeername()
            return "nobody listens" if is_self else ""
    except OSError as error:
        return error.strerror or str(error)


def start_together(make: Callable, timeout: int) -> tf.distribute.Strategy:
    """make(), the strategy, for which TensorFlow waits for all workers once more.

    One may have ended since it answered. TensorFlow waits in C++ and holds Python's
    lock, so that no handler of a signal and no thread runs. Meanwhile SIGINT and SIGHUP
    have their default action (SIGTERM is TensorFlow's, which keeps waiting), and
    another process ends this one after `timeout` seconds.
    """
    line = (
        f"error: TF_CONFIG: the workers did not start together within {timeout} s; one "
        "of them has ended since it answered. Start train.py on all again, or wait "
        "longer with --worker_timeout."
    )
    # Its stdin is closed when this process ends, and then it ends too.
    watcher = subprocess.Popen(
        [sys.executable, "-ISc", _WATCHER, str(timeout), line], stdin=subprocess.PIPE
    )
    before = handle_signals(signal.SIG_DFL)
    try:
        return make()
    except tf.errors.OpError as error:
        raise OSError(
            f"TF_CONFIG: the workers could not start together "
            f"({tensorflow_reason(error)}); start train.py on all again."
        ) from error
    finally:
        restore_signals(before)
        watcher.kill()
        watcher.communicate()


_WATCHER = """
import os, select, signal, sys
seconds, line = sys.argv[1:]
if not select.select([0], [], [], float(seconds))[0]:
    print(line, file=sys.stderr, flush=True)
    os.kill(os.getppid(), signal.SIGKILL)
"""
