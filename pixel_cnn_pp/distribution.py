"""Devices and machines: the strategy of a run, and its chief."""

import itertools
import os
import re
import socket
import sys
import time

import tensorflow as tf


class WorkerLost(Exception):
    """Another worker of the run ended, so this one cannot continue."""


# Raised by TensorFlow when another worker is gone.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


# Up to here XLA of TensorFlow 2.21 compiles for a GPU; for newer ones it ends the
# process (tensorflow#111958).
XLA_COMPUTE_CAPABILITY = (9, 0)


def show_gpus(count: int | None = None) -> None:
    """Lets TensorFlow use the first `count` GPUs alone, by default all, and take their
    memory when it needs it. To be called before the first operation.

    Warns where there is an NVIDIA driver, but no GPU that TensorFlow can use.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[:count], "GPU")
        for gpu in gpus[:count]:
            tf.config.experimental.set_memory_growth(gpu, True)
    elif os.path.exists(DRIVER) and os.environ.get("CUDA_VISIBLE_DEVICES") is None:
        print(
            "warning: this machine has an NVIDIA driver, but TensorFlow finds no GPU "
            "that it can use: the CPU is used. `pip install 'tensorflow[and-cuda]'` "
            "installs the libraries that it needs; TF_CPP_MIN_LOG_LEVEL=0 shows which "
            "it misses.",
            file=sys.stderr,
            flush=True,
        )


DRIVER = "/proc/driver/nvidia/version"


def has_gpu() -> bool:
    """Whether TensorFlow uses a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def xla_scope(jit_compile: bool | None) -> bool | None:
    """What XLA compiles of a training step: True for all, None for parts, False for
    nothing.

    `jit_compile` is what the user asked for. None: parts on CPUs, all on GPUs, nothing
    on GPUs that are too new for XLA.
    """
    if jit_compile is not None or not has_gpu():
        return jit_compile
    details = map(
        tf.config.experimental.get_device_details, tf.config.get_visible_devices("GPU")
    )
    newest = max(d.get("compute_capability", (0, 0)) for d in details)
    return newest <= XLA_COMPUTE_CAPABILITY


def make_strategy(
    nr_gpu: int | None, worker_timeout: int = 600
) -> tf.distribute.Strategy:
    """The strategy for `nr_gpu` devices: GPUs, or CPUs where there is no GPU.

    None takes all GPUs, or one CPU. Where the environment's TF_CONFIG names workers,
    the devices are those of each of them, and this must be the first that TensorFlow
    does. Raises ValueError where there are fewer devices, OSError where another worker
    does not start within `worker_timeout` seconds or this one cannot listen.
    """
    if num_workers():
        return _multi_worker_strategy(nr_gpu, worker_timeout)
    gpus = tf.config.list_logical_devices("GPU")
    devices = [d.name for d in gpus or tf.config.list_logical_devices("CPU")]
    count = nr_gpu or max(len(gpus), 1)
    if count > len(devices):
        kind = "GPU" if gpus else "CPU device"
        raise ValueError(
            f"--nr_gpu={count}: there are {len(devices)} {kind}s here; give at most "
            "that many, or leave the flag out."
        )
    if count == 1:
        return tf.distribute.get_strategy()
    # On CPUs collectives mix up several strategies of one process.
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices[:count], reduction)


def num_workers() -> int:
    """Number of workers in TF_CONFIG, 0 without it. ValueError if it is wrong."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return 0
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        jobs = resolver.cluster_spec().as_dict()
        job, index = resolver.task_type, resolver.task_id
        if not jobs:
            return 0
        _check_cluster(jobs, job, index)
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(
            f"TF_CONFIG={text}: {error}; it is JSON such as "
            '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", '
            '"index": 0}}, and without it one machine is used.'
        ) from error
    return sum(map(len, jobs.values()))


def _check_cluster(jobs: dict[str, list[str]], job: str | None, index) -> None:
    """Raises ValueError if a cluster is none of chief and workers with this task."""
    if others := set(jobs) - {"chief", "worker"}:
        raise ValueError(f"cluster has the job {min(others)!r}, not chief or worker")
    if job not in jobs:
        raise ValueError(f"task type {job!r} is none of {', '.join(jobs)}")
    if index not in range(len(jobs[job])):
        raise ValueError(f"task index {index!r} is not below {len(jobs[job])}")
    addresses = list(itertools.chain(*jobs.values()))
    for address in addresses:
        is_address = re.fullmatch(r".+:\d{1,5}", address)
        if not is_address or not 0 < _host_and_port(address)[1] < 2**16:
            raise ValueError(f"address {address!r} is no host:port")
        if addresses.count(address) > 1:
            raise ValueError(f"address {address!r} is there twice")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)  # IPv6: [::1]:2222.


def _wait_for_workers(timeout: int) -> None:
    """Waits until every worker of TF_CONFIG listens at its address.

    TensorFlow would wait for them without a word, and ignore signals. Meanwhile this
    worker listens at its own address; the kernel completes connections that nobody
    accepts. Once it has reached all others, TensorFlow's server takes over its port and
    answers the slower ones. Raises OSError that names TF_CONFIG and the address.
    """
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    jobs = resolver.cluster_spec().as_dict()
    own = jobs[resolver.task_type][resolver.task_id]
    with _listen(own):
        for address in sorted({*itertools.chain(*jobs.values())} - {own}):
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
    waited = False
    while reason := _why_unreachable(address):
        if time.monotonic() > deadline:
            raise OSError(
                f"TF_CONFIG: {address} did not answer for {timeout} s ({reason}); "
                "start train.py there too, or wait longer with --worker_timeout."
            )
        if not waited:
            print(f"waiting for {address}", file=sys.stderr, flush=True)
            waited = True
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


def _multi_worker_strategy(
    nr_gpu: int | None, worker_timeout: int
) -> tf.distribute.Strategy:
    there = max(len(tf.config.list_physical_devices("GPU")), 1)
    if nr_gpu not in (None, there):
        raise ValueError(
            f"--nr_gpu={nr_gpu}: this worker has {there} devices and takes them all; "
            "hide some with CUDA_VISIBLE_DEVICES, or leave the flag out."
        )
    _wait_for_workers(worker_timeout)
    # By default gradients go through the hosts.
    kind = tf.distribute.experimental.CommunicationImplementation
    implementation = kind.NCCL if tf.config.list_physical_devices("GPU") else kind.AUTO
    return tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=tf.distribute.experimental.CommunicationOptions(
            implementation=implementation
        )
    )


def describe(strategy: tf.distribute.Strategy) -> str:
    """The devices of all workers, such as '8 GPUs (NVIDIA H100 80GB HBM3)'."""
    num, gpus = strategy.num_replicas_in_sync, tf.config.get_visible_devices("GPU")
    if not gpus:
        return f"{num} CPU{'s' * (num > 1)} (TensorFlow finds no GPU)"
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return f"{num} GPU{'s' * (num > 1)} ({name})"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what the run writes: the only one, or the first."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def are_several(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes take part in the run."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def distribute(batches: tf.data.Dataset, strategy: tf.distribute.Strategy):
    """Global batches, split among the replicas of all workers in order."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    # The thread that tunes the input sleeps longer and longer, up to a minute, and the
    # end of an epoch can wait until it wakes.
    options.autotune.enabled = False
    return strategy.experimental_distribute_dataset(batches.with_options(options))


def take_from_first(
    groups: dict[str, dict[str, tf.Variable]], strategy: tf.distribute.Strategy
) -> None:
    """Sets the variables of all workers to those of the first.

    Each has computed or read them for itself: on GPUs not to the last bit alike.
    """
    variables = [v for group in groups.values() for v in group.values()]

    def of_first():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        first = tf.equal(replica, 0)
        return [tf.where(first, v, tf.zeros_like(v)) for v in variables]

    @tf.function(autograph=False)
    def sums():
        total = tf.distribute.ReduceOp.SUM
        return [strategy.reduce(total, v, axis=None) for v in strategy.run(of_first)]

    for variable, value in zip(variables, sums(), strict=True):
        variable.assign(value)


def make_any(strategy: tf.distribute.Strategy):
    """A function that tells every worker whether a bool is True on any of them."""

    @tf.function(autograph=False)
    def total(flag):
        counts = strategy.run(tf.identity, args=(flag,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, counts, axis=None)

    return lambda flag: int(total(tf.constant(int(flag)))) > 0
