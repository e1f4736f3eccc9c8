"""TrainStep: loss, gradients, Adam and EMA of one batch, in one graph."""

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from pixel_cnn_pp import distribution, prng
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.layers import fusion
from pixel_cnn_pp.training.background import add_penalty, mutate
from pixel_cnn_pp.training.optimizer import (
    Adam,
    ema_decay_at,
    ema_step,
    learning_rate_at,
)
from pixel_cnn_pp.training.state import TrainState, seed_for

SUM = tf.distribute.ReduceOp.SUM


def set_graph_optimizer() -> None:
    """Turns TensorFlow's graph optimizer off on CPUs, for the whole process.

    At the default size it takes 16 s of the first step on a CPU and makes no step
    faster.
    """
    if not tf.config.list_physical_devices("GPU"):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


class UpdateScalars(NamedTuple):
    """What the update of every parameter takes besides its gradient, all []."""

    learning_rate: tf.Tensor
    v_correction: tf.Tensor
    mg_correction: tf.Tensor
    ema_decay: tf.Tensor
    is_good: tf.Tensor  # bool; False leaves all as it is.


def new_values(old, gradient: tf.Tensor, scalars: UpdateScalars) -> list[tf.Tensor]:
    """A parameter, its v, mg and EMA after the step, from those before it."""
    p, v, mg, ema = old
    corrections = scalars.v_correction, scalars.mg_correction
    p, v, mg = Adam.step(p, v, mg, gradient, scalars.learning_rate, corrections)
    new = p, v, mg, ema_step(ema, p, scalars.ema_decay)
    return [tf.where(scalars.is_good, a, b) for a, b in zip(new, old, strict=True)]


def update_all(compute, variables, gradients, scalars: UpdateScalars) -> None:
    """Sets the variables of each parameter to `compute`, such as `new_values`, of their
    values."""
    for group, gradient in zip(variables, gradients, strict=True):
        old = [tf.convert_to_tensor(variable) for variable in group]
        new = compute(old, gradient, scalars)
        for variable, value in zip(group, new, strict=True):
            variable.assign(value)


def global_norm(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """As tf.linalg.global_norm; tensors of one shape take one operation.

    Compiled for an H100, default size: 29 kernels instead of 759.
    """
    groups = defaultdict(list)
    for tensor in tensors:
        groups[tuple(tensor.shape)].append(tensor)
    return tf.linalg.global_norm([tf.stack(group) for group in groups.values()])


class Sums(NamedTuple):
    """What a step returns, float32 []: sums over the images of a replica, and then over
    all replicas."""

    loss: tf.Tensor  # Of all images, in nats.
    norm: tf.Tensor  # Norms of the replicas' gradients.
    pixels: tf.Tensor  # Mean pixel values of the replicas' images.
    stops: tf.Tensor  # Replicas of workers that were asked to stop.


class TrainStep:
    """The compiled step: the images of all replicas → their summed loss, in nats.

    Losses and gradients are summed over the images of all replicas, as the official
    code sums them, and over `accumulate` batches that each replica takes in turn.
    Dropout masks follow from the seed, the step, the replica and the batch, mutations
    of the images from the seed, the step and the replica. The penalty of weight_decay
    is part of the gradients, not of the loss.

    A step with a loss or gradient that is not finite changes no parameter, EMA,
    moment or sum of losses; it is counted in bad_steps and reported by `bad_report`.

    Nothing here copies from a GPU to the host, which would wait for the step.
    """

    def __init__(
        self, state: TrainState, config: Config, strategy: tf.distribute.Strategy
    ):
        self.state = state
        self.config = config
        self.strategy = strategy
        self.parameters = list(state.parameters.values())
        groups = state.parameters, state.adam.v, state.adam.mg, state.ema_parameters
        # Of each parameter: itself, its v, mg and EMA.
        self.variables = list(zip(*(group.values() for group in groups), strict=True))
        scope = distribution.xla_scope(config.jit_compile)
        # XLA compiles gradients, norm and update as a whole; or the elementwise parts
        # of the network and the update of each parameter; or nothing.
        self.compiles_all, self.compiles_parts = scope is True, scope is None
        self.global_norm = self.compile(global_norm, self.compiles_all)
        self.compiled = self.compile(self.step)
        with strategy.scope():
            # Of the bad steps since the last report: their number; step, loss, norm
            # and mean pixel value of the last one.
            self.num_bad = tf.Variable(0, trainable=False, dtype=tf.int64)
            self.last_bad = tf.Variable(tf.zeros([4]), trainable=False)

    @staticmethod
    def compile(function: Callable, with_xla: bool = False):
        """The function as a graph, compiled by XLA or not."""
        return tf.function(function, jit_compile=with_xla, autograph=False)

    def __call__(self, batch, stop: bool = False) -> Sums:
        """`stop`: whether this worker was asked to stop."""
        return self.compiled(batch, tf.constant(float(stop)))

    def step(self, batch, stop) -> Sums:
        counters = self.state.counters
        with tf.device(prng.HOST):
            step = tf.identity(counters["step"])
            seed = seed_for(self.config, prng.DROPOUT, step)
        if self.config.mutation_rate:
            mutation_seed = seed_for(self.config, prng.MUTATION, step)
            batch = self.strategy.run(self.mutated, args=(batch, mutation_seed))
        compute = functools.partial(self.replica_gradients, self.trace_gradients())
        sums, gradients = self.strategy.run(compute, args=(batch, seed, stop))
        sums, gradients = self.reduce(sums, gradients)
        is_good = tf.math.is_finite(sums.loss) & tf.math.is_finite(sums.norm)
        self.update(step, gradients, is_good)
        self.count(step, sums, is_good)
        with tf.device(prng.HOST):
            counters["position"].assign_add(self.images_per_step)
            counters["step"].assign_add(1)
        return sums

    @property
    def images_per_step(self) -> int:
        return self.config.step_images(self.strategy.num_replicas_in_sync)

    # Loss and gradients of a replica.

    def mutated(self, batch, seed) -> dict[str, tf.Tensor]:
        """The batch of one replica with `mutation_rate` of its sub-pixels replaced."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        rate, levels = self.config.mutation_rate, self.config.model.num_levels
        seed = prng.fold_in(seed, replica)
        return batch | {"image": mutate(batch["image"], rate, levels, seed)}

    def of_replica(self, variables, replica=0) -> list:
        """The variables of one replica, in the same structure.

        Functions take them as arguments: they are traced once, with those of any
        replica, and captured ones would stay that replica's.
        """

        def local(variable):
            # The id counts the replicas of all workers, `values` are this worker's.
            values = self.strategy.experimental_local_results(variable)
            return values[tf.get_static_value(replica) % len(values)]

        return tf.nest.map_structure(local, variables)

    def trace_gradients(self) -> Callable:
        """`batch_gradients` as one graph, which all replicas call with their own."""
        size, model = self.config.batch_size, self.config.model
        dtype = self.state.model.image_dtype
        batch = {"image": tf.TensorSpec([size, *model.image_shape], dtype)}
        if model.num_labels is not None:
            batch["label"] = tf.TensorSpec([size], tf.int32)
        parameters = self.of_replica(self.parameters)
        seed = tf.TensorSpec([2], tf.int32)
        compiled = self.compile(self.batch_gradients, self.compiles_all)
        return compiled.get_concrete_function(parameters, batch, seed)

    def replica_gradients(self, graph, batch, seed, stop) -> tuple[Sums, list]:
        """Sums and summed gradients of a replica; `graph`: that of batch_gradients."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = prng.fold_in(seed, replica)
        parameters = self.of_replica(self.parameters, replica)
        if self.config.accumulate == 1:
            loss, gradients = graph(parameters, batch, seed)
        else:
            loss, gradients = self.accumulated_gradients(graph, parameters, batch, seed)
        if self.config.weight_decay:
            # For each image: the loss is a sum over images.
            factor = self.config.weight_decay * self.config.step_images(1)
            gradients = add_penalty(
                gradients, parameters, self.state.parameters, factor
            )
        norm = self.global_norm(gradients)
        pixels = tf.reduce_mean(tf.cast(batch["image"], tf.float32))
        return Sums(loss, norm, pixels, stop), gradients

    def batch_gradients(self, parameters, batch, seed):
        """Summed loss of a batch and its gradients with respect to `parameters`."""
        model = self.state.model
        values = [tf.convert_to_tensor(p) for p in parameters]
        variables = list(model.parameters.values())
        # Around the gradients too: with remat they run the blocks again.
        with fusion.fusing(self.compiles_all or self.compiles_parts):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                with keras.StatelessScope(zip(variables, values, strict=True)):
                    losses = model.image_loss(
                        batch["image"], batch.get("label"), training=True, seed=seed
                    )
                loss = tf.reduce_sum(losses)
            return loss, tape.gradient(loss, values)

    def accumulated_gradients(self, graph, parameters, batch, seed):
        """Sums over `accumulate` batches, of which one is in memory at a time."""
        count, size = self.config.accumulate, self.config.batch_size
        parts = {
            name: tf.reshape(whole, [count, size, *whole.shape[1:]])
            for name, whole in batch.items()
        }

        def add(i, loss, gradients):
            part = {name: split[i] for name, split in parts.items()}
            part_seed = prng.fold_in(seed, i)
            more_loss, more = graph(parameters, part, part_seed)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            return i + 1, loss + more_loss, gradients

        zeros = [tf.zeros(p.shape) for p in self.parameters]
        _, loss, gradients = tf.while_loop(
            lambda i, *_: i < count, add, (0, 0.0, zeros), parallel_iterations=1
        )
        return loss, gradients

    # Reduction, update and bookkeeping, once for all replicas.

    def reduce(self, sums: Sums, gradients) -> tuple[Sums, list]:
        """Sums over the replicas."""
        total = self.strategy.reduce(SUM, self.strategy.run(tf.stack, (sums,)), None)
        pairs = list(zip(gradients, self.parameters, strict=True))
        gradients = self.strategy.extended.batch_reduce_to(SUM, pairs)
        return Sums(*tf.unstack(total)), gradients

    def trace_update(self) -> Callable:
        """`update_all` of the parameters, traced once for all replicas.

        As XLA compiles all, in one call, which reads and sets the variables: on a GPU
        the host takes longer for a call or a variable than the GPU for its work. On a
        CPU one call would take 0.3 GB more, and 15 s instead of 10 for the first step
        (-q 2 -n 32); there each shape of a parameter has a function of its own.
        """
        number, good = tf.TensorSpec([]), tf.TensorSpec([], tf.bool)
        scalars = UpdateScalars(number, number, number, number, good)
        gradients = [tf.TensorSpec(p.shape) for p in self.parameters]
        if self.compiles_all:
            compiled = self.compile(functools.partial(update_all, new_values), True)
            variables = self.of_replica(self.variables)
            return compiled.get_concrete_function(variables, gradients, scalars)
        compiled = self.compile(new_values, self.compiles_parts)
        by_shape = {
            g.shape: compiled.get_concrete_function([g] * 4, g, scalars)
            for g in dict.fromkeys(gradients)  # Each shape once.
        }
        return functools.partial(
            update_all, lambda old, g, scalars: by_shape[g.shape](old, g, scalars)
        )

    def update(self, step, gradients, is_good) -> None:
        """Adam and EMA of all parameters, unless the step is bad."""
        config = self.config
        with tf.device(prng.HOST):
            scalars = UpdateScalars(
                learning_rate_at(step, config.learning_rate, config.lr_decay),
                *Adam.corrections(step + 1),
                ema_decay_at(step, config.polyak_decay, config.polyak_warmup),
                is_good,
            )
        compute = self.trace_update()

        def update_replica(gradients):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            compute(self.of_replica(self.variables, replica), gradients, scalars)

        self.strategy.run(update_replica, (gradients,))

    def count(self, step, sums: Sums, is_good) -> None:
        """Adds a finite step to the metrics' sums; otherwise counts a bad step."""
        counters = self.state.counters
        good = tf.cast(is_good, tf.int64)
        loss = tf.where(is_good, tf.cast(sums.loss, tf.float64), 0.0)
        for since in ("epoch", "interval"):
            counters[f"{since}_loss"].assign_add(loss)
            counters[f"{since}_images"].assign_add(good * self.images_per_step)
        bad_steps = counters["bad_steps"]
        bad_steps.assign((1 - good) * (bad_steps + 1))
        self.num_bad.assign_add(1 - good)
        pixels = sums.pixels / self.strategy.num_replicas_in_sync
        this = tf.stack([tf.cast(step + 1, tf.float32), sums.loss, sums.norm, pixels])
        self.last_bad.assign(tf.where(is_good, self.last_bad, this))

    def bad_report(self) -> str | None:
        """A line on the bad steps since the last one, None without any. It waits for
        the steps that were started."""
        count = int(self.num_bad.numpy())
        if not count:
            return None
        self.num_bad.assign(0)
        step, loss, norm, pixels = self.last_bad.numpy()
        return (
            f"warning: skipped steps: {count}; the last, step {step:.0f}, had loss "
            f"{loss}, summed norms of the gradients {norm}, mean pixel value "
            f"{pixels:.1f}"
        )
