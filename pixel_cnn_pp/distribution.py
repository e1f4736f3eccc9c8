"""Devices and machines: the strategy of a run, and its chief."""

import contextlib
import functools
import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from pixel_cnn_pp import cluster


class WorkerLost(Exception):
    """Another worker of the run ended, so this one cannot continue."""


# Raised by TensorFlow when another worker is gone.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


def is_of_lost_worker(error: tf.errors.OpError) -> bool:
    return isinstance(error, LOST) or "Collective ops is aborted" in error.message


@contextlib.contextmanager
def naming_lost_workers(
    strategy: tf.distribute.Strategy,
    details: Callable = lambda: "before the first step; start all of them again.",
) -> Iterator[None]:
    """Within, TensorFlow's errors of a lost worker become WorkerLost, which says with
    `details` when, and what to do."""
    try:
        yield
    except tf.errors.OpError as error:
        if not (is_multi_worker(strategy) and is_of_lost_worker(error)):
            raise
        raise WorkerLost(f"another worker was lost {details()}") from error


DRIVER = "/proc/driver/nvidia/version"
# Up to here XLA of TensorFlow 2.21 compiles for a GPU; for newer ones it ends the
# process (tensorflow#111958).
XLA_COMPUTE_CAPABILITY = (9, 0)


def show_gpus(count: int | None = None) -> None:
    """Lets TensorFlow use the first `count` GPUs alone, by default all, and take their
    memory when it needs it. To be called before the first operation.

    Warns where there is an NVIDIA driver, but no GPU that TensorFlow can use, and of
    GPUs that are too new for XLA.
    """
    gpus = tf.config.list_physical_devices("GPU")[:count]
    hides_gpus = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if gpus:
        tf.config.set_visible_devices(gpus, "GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        # It would add 703 transposes to a float32 step.
        tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
        if not can_compile(gpus):
            _warn(
                "XLA of TensorFlow 2.21 cannot compile for these GPUs (compute "
                f"capability above {'.'.join(map(str, XLA_COMPUTE_CAPABILITY))}): it "
                "is not used, and training and sampling are slower. --jit_compile uses "
                "it all the same."
            )
    elif os.path.exists(DRIVER) and not hides_gpus:
        _warn(
            "this machine has an NVIDIA driver, but TensorFlow finds no GPU that it "
            "can use: the CPU is used. `pip install 'tensorflow[and-cuda]'` installs "
            "the libraries that it needs; TF_CPP_MIN_LOG_LEVEL=0 shows which it misses."
        )


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)


def can_compile(gpus: Sequence[tf.config.PhysicalDevice]) -> bool:
    """Whether XLA compiles for all of these GPUs."""
    details = map(tf.config.experimental.get_device_details, gpus)
    newest = max(d.get("compute_capability", (0, 0)) for d in details)
    return newest <= XLA_COMPUTE_CAPABILITY


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
    return can_compile(tf.config.get_visible_devices("GPU"))


def make_strategy(
    nr_gpu: int | None, worker_timeout: int = 600
) -> tf.distribute.Strategy:
    """The strategy for `nr_gpu` devices: GPUs, or CPUs where there is no GPU.

    None takes all GPUs, or one CPU. Where the environment's TF_CONFIG names workers,
    the devices are those of each of them, and this must be the first that TensorFlow
    does. Raises ValueError where there are fewer devices, OSError where another worker
    does not start within `worker_timeout` seconds or this one cannot listen.
    """
    if cluster.workers()[0]:
        return _multi_worker_strategy(nr_gpu, worker_timeout)
    devices = device_names(nr_gpu)
    if len(devices) == 1:
        return tf.distribute.get_strategy()
    # On CPUs collectives mix up several strategies of one process.
    reduction = None if has_gpu() else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices, reduction)


def device_names(nr_gpu: int | None) -> list[str]:
    """Names of `nr_gpu` devices of this machine: GPUs, or CPUs where there is no GPU.

    None takes all GPUs, or one CPU. Raises ValueError where there are fewer devices.
    """
    gpus = tf.config.list_logical_devices("GPU")
    devices = [d.name for d in gpus or tf.config.list_logical_devices("CPU")]
    count = nr_gpu or max(len(gpus), 1)
    if count > len(devices):
        kind = "GPU" if gpus else "CPU device"
        raise ValueError(
            f"--nr_gpu={count}: {kind}s here: {len(devices)}; give at most "
            "that many, or remove the flag."
        )
    return devices[:count]


def _multi_worker_strategy(
    nr_gpu: int | None, worker_timeout: int
) -> tf.distribute.Strategy:
    gpus = tf.config.list_physical_devices("GPU")
    num_devices = max(len(gpus), 1)
    if nr_gpu not in (None, num_devices):
        raise ValueError(
            f"--nr_gpu={nr_gpu}: this worker has {num_devices} devices and takes them "
            "all; hide some with CUDA_VISIBLE_DEVICES, or remove the flag."
        )
    cluster.wait_for_workers(worker_timeout)
    # By default gradients go through the hosts.
    kind = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=kind.NCCL if gpus else kind.AUTO
    )
    make = functools.partial(
        tf.distribute.MultiWorkerMirroredStrategy, communication_options=options
    )
    return cluster.start_together(make, worker_timeout)


def devices_text(strategy: tf.distribute.Strategy) -> str:
    """The devices of all workers, such as '8 GPUs (NVIDIA H100 80GB HBM3)'."""
    num, gpus = strategy.num_replicas_in_sync, tf.config.get_visible_devices("GPU")
    if not gpus:
        return f"{num} CPU{'s' * (num > 1)} (TensorFlow finds no GPU)"
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return f"{num} GPU{'s' * (num > 1)} ({name})"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what the run writes: the only one, or the first."""
    return not is_multi_worker(strategy) or cluster.position()[0] == 0


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes take part in the run."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def distribute(
    batches: tf.data.Dataset, strategy: tf.distribute.Strategy
) -> Iterator[dict]:
    """Yields global batches, dicts of tensors whose number of images the replicas
    divide, split among the replicas of all workers in order.

    Without the threads by which tf.data tunes itself: the end of an iteration can wait
    for them, up to a minute. With experimental_distribute_dataset each device has one,
    and eight CPU devices waited 6 to 22 s for the end of an epoch of 15 s.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    replicas = strategy.num_replicas_in_sync

    def split(batch):
        return {name: tuple(tf.split(x, replicas)) for name, x in batch.items()}

    for parts in batches.map(split).prefetch(2).with_options(options):

        def part(context, parts=parts):
            replica = context.replica_id_in_sync_group
            return {name: values[replica] for name, values in parts.items()}

        yield strategy.experimental_distribute_values_from_function(part)


def broadcast_from_chief(
    groups: dict[str, dict[str, tf.Variable]], strategy: tf.distribute.Strategy
) -> None:
    """Sets the variables of all workers to the chief's.

    Each has computed or read them for itself: on GPUs not to the last bit alike.
    """
    variables = [v for group in groups.values() for v in group.values()]

    def zeros_but_of_chief():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        is_first = tf.equal(replica, 0)
        return [tf.where(is_first, v, tf.zeros_like(v)) for v in variables]

    @tf.function(autograph=False)
    def sums():
        values = strategy.run(zeros_but_of_chief)
        return [
            strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for value in values
        ]

    for variable, value in zip(variables, sums(), strict=True):
        variable.assign(value)


def differing(strategy: tf.distribute.Strategy, texts: dict[str, str]) -> list[str]:
    """Names of the texts, which each worker has for itself, that are not the same on
    all."""
    # As many bits as float32 is exact to.
    hashes = [hashlib.sha256(text.encode()).hexdigest()[:6] for text in texts.values()]
    numbers = np.array([int(digits, 16) for digits in hashes], np.float32)
    with strategy.scope():
        of_chief = tf.Variable(numbers)
    broadcast_from_chief({"": {"": of_chief}}, strategy)
    differs = make_any(strategy)(of_chief.numpy() != numbers)
    return list(itertools.compress(texts, differs))


def make_any(strategy: tf.distribute.Strategy) -> Callable:
    """A function that tells every worker which of its bools, a scalar or an array, are
    True on any of them."""

    @tf.function(autograph=False)
    def total(flags):
        counts = strategy.run(tf.identity, args=(flags,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, counts, axis=None)

    return lambda flags: total(tf.cast(flags, tf.int32)).numpy() > 0
