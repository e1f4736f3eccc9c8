"""TrainStep: loss, gradients, Adam and EMA of one batch, in one graph."""

import sys

import tensorflow as tf

from pixel_cnn_pp import distribution, prng
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.layers import fusion
from pixel_cnn_pp.training.optimizer import (
    Adam,
    ema_decay_at,
    ema_step,
    learning_rate_at,
)
from pixel_cnn_pp.training.state import TrainState, seed_for

SUM = tf.distribute.ReduceOp.SUM


def skip_graph_optimizer() -> None:
    """Turns TensorFlow's graph optimizer off on CPUs, for the whole process.

    At the default size it takes 16 s of the first step and makes no step faster.
    """
    if not tf.config.list_physical_devices("GPU"):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def new_values(old, gradient, learning_rate, corrections, decay, is_good):
    """p, v, mg and the average of one parameter after the step; `old` if it is bad."""
    p, v, mg, average = old
    p, v, mg = Adam.step(p, v, mg, gradient, learning_rate, corrections)
    new = (p, v, mg, ema_step(average, p, decay))
    return [tf.where(is_good, a, b) for a, b in zip(new, old, strict=True)]


# One for all runs of a process: XLA compiles it once for each shape. Without XLA each
# operation is a pass over memory of its own.
compiled_new_values = tf.function(new_values, jit_compile=True, autograph=False)


class TrainStep:
    """The compiled step: the images of all replicas → their summed loss, in nats.

    Losses and gradients are summed over the images of all replicas, as the official
    code sums them, and over `accumulate` batches that each replica takes in turn.
    Dropout masks follow from the seed, the step, the replica and the batch.

    A step with a loss or gradient that is not finite changes no parameter, average,
    moment or sum of losses; it is counted in bad_steps and reported on stderr.
    """

    def __init__(
        self, state: TrainState, config: Config, strategy: tf.distribute.Strategy
    ):
        self.state = state
        self.config = config
        self.strategy = strategy
        self.parameters = list(state.parameters.values())
        self.uses_xla = config.jit_compile is not False
        if config.jit_compile:
            self.batch_gradients = tf.function(
                self.batch_gradients, jit_compile=True, autograph=False
            )
        self.compiled = tf.function(self.step, autograph=False)

    def __call__(self, batch) -> tf.Tensor:
        return self.compiled(batch)

    def step(self, batch) -> tf.Tensor:
        counters, step = self.state.counters, self.state.counters["step"]
        seed = seed_for(self.config, prng.DROPOUT)
        seed = prng.fold_in(seed, tf.cast(step, tf.int32))
        of_replicas = self.strategy.run(self.replica_gradients, args=(batch, seed))
        loss, gradients, norm = self.reduce(*of_replicas)
        is_good = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        self.update(gradients, is_good)
        tf.cond(
            is_good,
            lambda: self.count(loss),
            lambda: self.report_bad_step(batch, loss, norm),
        )
        counters["position"].assign_add(self.images_per_step)
        step.assign_add(1)
        return loss

    @property
    def images_per_step(self) -> int:
        replicas = self.strategy.num_replicas_in_sync
        return self.config.batch_size * replicas * self.config.accumulate

    # Loss and gradients of a replica.

    def replica_gradients(self, batch, seed):
        """Summed loss, its gradients and their norm, of the images of one replica."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = prng.fold_in(seed, replica)
        if self.config.accumulate == 1:
            loss, gradients = self.batch_gradients(batch, seed)
        else:
            loss, gradients = self.accumulated_gradients(batch, seed)
        return loss, gradients, tf.linalg.global_norm(gradients)

    def batch_gradients(self, batch, seed):
        # Around the gradients too: with remat they run the blocks again.
        with fusion.fusing(self.uses_xla):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self.parameters)
                losses = self.state.model.image_loss(
                    batch["image"], batch.get("label"), training=True, seed=seed
                )
                loss = tf.reduce_sum(losses)
            return loss, tape.gradient(loss, self.parameters)

    def accumulated_gradients(self, batch, seed):
        """Sums over `accumulate` batches, of which one is in memory at a time."""
        count, size = self.config.accumulate, self.config.batch_size
        parts = {
            name: tf.reshape(values, [count, size, *values.shape[1:]])
            for name, values in batch.items()
        }

        def add(i, loss, gradients):
            part = {name: values[i] for name, values in parts.items()}
            more_loss, more = self.batch_gradients(part, prng.fold_in(seed, i))
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            return i + 1, loss + more_loss, gradients

        zeros = [tf.zeros(p.shape) for p in self.parameters]
        _, loss, gradients = tf.while_loop(
            lambda i, *_: i < count, add, (0, 0.0, zeros), parallel_iterations=1
        )
        return loss, gradients

    # Reduction, update and bookkeeping, once for all replicas.

    def reduce(self, loss, gradients, norm):
        """Sums over the replicas."""
        loss = self.strategy.reduce(SUM, loss, axis=None)
        norm = self.strategy.reduce(SUM, norm, axis=None)
        pairs = list(zip(gradients, self.parameters, strict=True))
        return loss, self.strategy.extended.batch_reduce_to(SUM, pairs), norm

    def update(self, gradients, is_good) -> None:
        """Adam and EMA of all parameters, unless the step is bad."""
        config, state = self.config, self.state
        step = state.counters["step"]
        settings = (
            learning_rate_at(step, config.learning_rate, config.lr_decay),
            Adam.corrections(step + 1),
            ema_decay_at(step, config.polyak_decay, config.polyak_warmup),
            is_good,
        )
        compute = compiled_new_values if self.uses_xla else new_values

        def assign(_, variables, gradient):
            # Values, not variables: XLA would take the variables that a strategy has on
            # several devices for one another.
            old = [tf.convert_to_tensor(variable) for variable in variables]
            new = compute(old, gradient, *settings)
            for variable, value in zip(variables, new, strict=True):
                variable.assign(value)

        for name, gradient in zip(state.parameters, gradients, strict=True):
            groups = state.parameters, state.adam.v, state.adam.mg, state.averages
            variables = [group[name] for group in groups]
            self.strategy.extended.update(variables[0], assign, (variables, gradient))

    def count(self, loss) -> None:
        """Adds a good step to the sums that the metrics are made of."""
        counters = self.state.counters
        for since in ("epoch", "interval"):
            counters[f"{since}_loss"].assign_add(tf.cast(loss, tf.float64))
            counters[f"{since}_images"].assign_add(self.images_per_step)
        counters["bad_steps"].assign(0)

    def report_bad_step(self, batch, loss, norm) -> None:
        """Counts a step that was skipped; the chief prints a line about it."""
        counters = self.state.counters
        counters["bad_steps"].assign_add(1)
        if not distribution.is_chief(self.strategy):
            return
        images = self.strategy.experimental_local_results(batch["image"])
        pixels = tf.cast(tf.concat(images, axis=0), tf.float32)
        tf.print(
            tf.strings.format(
                # A progress bar may stand in the line.
                ("\n" if sys.stderr.isatty() else "")
                + "warning: step {} is skipped, {} in a row: loss {}, summed norms of "
                "the gradients {}; its pixel values are from {} to {}, mean {}",
                (
                    counters["step"] + 1,
                    counters["bad_steps"],
                    loss,
                    norm,
                    tf.reduce_min(pixels),
                    tf.reduce_max(pixels),
                    tf.reduce_mean(pixels),
                ),
            ),
            output_stream=sys.stderr,
        )
