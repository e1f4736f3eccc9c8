"""Devices and machines: the strategy of a run, and its chief."""

import itertools
import os
import re

import tensorflow as tf


class WorkerLost(Exception):
    """Another worker of the run ended, so this one cannot continue."""


# Raised by TensorFlow when another worker is gone.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


def make_strategy(nr_gpu: int | None) -> tf.distribute.Strategy:
    """The strategy for `nr_gpu` devices: GPUs, or CPUs where there is no GPU.

    None takes all GPUs, or one CPU. Where the environment's TF_CONFIG names workers,
    the devices are those of each of them, and this must be the first that TensorFlow
    does. Raises ValueError where there are fewer devices.
    """
    if num_workers():
        return _multi_worker_strategy(nr_gpu)
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
    for address in itertools.chain(*jobs.values()):
        if not re.fullmatch(r".+:\d{1,5}", address):
            raise ValueError(f"address {address!r} is no host:port")


def _multi_worker_strategy(nr_gpu: int | None) -> tf.distribute.Strategy:
    there = max(len(tf.config.list_physical_devices("GPU")), 1)
    if nr_gpu not in (None, there):
        raise ValueError(
            f"--nr_gpu={nr_gpu}: this worker has {there} devices and takes them all; "
            "hide some with CUDA_VISIBLE_DEVICES, or leave the flag out."
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


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
