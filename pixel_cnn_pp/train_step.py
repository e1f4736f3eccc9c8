"""The state of a training run, and its step."""

import functools
import math
import sys

import tensorflow as tf

from pixel_cnn_pp import checkpoint, fusion, noise, polyak, workers
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.model import PixelCNNPP
from pixel_cnn_pp.optimizer import Adam
from pixel_cnn_pp.progress import clearing_stderr

# What is drawn from --seed, each under a number of its own.
INITIALIZATION, DROPOUT, EVALUATION, SAMPLES, COMPLETIONS = range(5)
SUM = tf.distribute.ReduceOp.SUM
LARGE = 2**15  # Elements of a parameter that is updated by itself.


class TrainState:
    """All that a run carries from one step to the next. Made under its strategy."""

    def __init__(self, config: Config):
        self.model = PixelCNNPP(**config.model_arguments(), name="model")
        self.model.set_precision(config.precision)
        self.model.remat = config.remat
        # Its weights will be those of the other, or read.
        self.averaged = PixelCNNPP(
            **config.model_arguments(), first_weights=False, name="averaged"
        )
        self.averaged.set_fusion(config.jit_compile is not False)
        self.parameters = checkpoint.variables(self.model)
        self.averages = checkpoint.variables(self.averaged)
        self.adam = Adam(self.parameters)
        self.counters = {
            # Steps done; epochs done; images of the epoch's order that were taken.
            "step": tf.Variable(0, trainable=False, dtype=tf.int64),
            "epoch": tf.Variable(0, trainable=False, dtype=tf.int64),
            "position": tf.Variable(0, trainable=False, dtype=tf.int64),
            # Rows of metrics so far; the last step that ended an epoch or the run with
            # a row, a checkpoint and samples.
            "rows": tf.Variable(0, trainable=False, dtype=tf.int64),
            "closed_step": tf.Variable(0, trainable=False, dtype=tf.int64),
            # Sums of the training loss and of images, since the epoch began and since
            # the last row of metrics.
            "epoch_loss": tf.Variable(0.0, trainable=False, dtype=tf.float64),
            "epoch_images": tf.Variable(0, trainable=False, dtype=tf.int64),
            "interval_loss": tf.Variable(0.0, trainable=False, dtype=tf.float64),
            "interval_images": tf.Variable(0, trainable=False, dtype=tf.int64),
            # Steps left out in a row, because something in them was not finite.
            "bad_steps": tf.Variable(0, trainable=False, dtype=tf.int64),
        }

    def groups(self) -> checkpoint.Groups:
        """Every variable by its name in a checkpoint."""
        return {
            "parameters": self.parameters,
            "averages": self.averages,
            "adam_v": self.adam.v,
            "adam_mg": self.adam.mg,
            "counters": self.counters,
        }

    def count(self, name: str) -> int:
        return int(self.counters[name].numpy())


def start_sooner() -> None:
    """Makes the first step come sooner, by a setting of the whole process.

    TensorFlow runs graphs as they were traced, where there is no GPU: its graph
    optimizer takes longer over the step than all else before the first one, and makes
    it no faster on a CPU.
    """
    if not tf.config.list_physical_devices("GPU"):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def seed_for(config: Config, purpose: int) -> tf.Tensor:
    return tf.constant([config.seed, purpose], tf.int32)


def learning_rate_at(config: Config, step: tf.Tensor) -> tf.Tensor:
    """Rate of the step after `step` earlier ones: decayed before every step.

    A function of the step, so a resumed run goes on where it was (the official one
    starts again from the full rate).
    """
    decay = tf.pow(
        tf.constant(config.lr_decay, tf.float64), tf.cast(step + 1, tf.float64)
    )
    return tf.cast(config.learning_rate * decay, tf.float32)


def images_at_a_time(config: Config) -> int:
    """Images that all replicas of the strategy hold together."""
    return config.batch_size * tf.distribute.get_strategy().num_replicas_in_sync


def new_values(old, gradient, learning_rate, corrections, decay, is_good):
    """A parameter, its moments and its average after the step; the old ones if it is
    bad."""
    p, v, mg, average = old
    p, v, mg = Adam.step(p, v, mg, gradient, learning_rate, corrections)
    new = (p, v, mg, polyak.step(average, p, decay))
    return [tf.where(is_good, a, b) for a, b in zip(new, old, strict=True)]


def joined(values: list) -> tf.Tensor:
    """Tensors or variables flat and end to end; one alone as it is."""
    if len(values) == 1:
        return tf.convert_to_tensor(values[0])
    return tf.concat([_reshaped(tf.convert_to_tensor(v), [-1]) for v in values], axis=0)


def parted(value: tf.Tensor, like: list) -> list[tf.Tensor]:
    """What `joined` made of tensors of such shapes."""
    if len(like) == 1:
        return [value]
    parts = tf.split(value, [math.prod(one.shape) for one in like])
    return [_reshaped(part, one.shape) for part, one in zip(parts, like, strict=True)]


def _reshaped(x: tf.Tensor, shape) -> tf.Tensor:
    return x if len(x.shape) == len(shape) else tf.reshape(x, shape)


def assign_new_values(values_after, variables, gradient, *settings):
    """Assigns what `new_values`, or its compiled form, makes of some parameters.

    variables: theirs, their v, their mg and their averages, each a list that goes end
    to end, as their gradient does.
    """
    old = [joined(group) for group in variables]
    new = values_after(old, gradient, *settings)
    for group, value in zip(variables, new, strict=True):
        for variable, part in zip(group, parted(value, group), strict=True):
            variable.assign(part)


# One of each for all runs of a process: XLA compiles it once for each shape and keeps
# that. The second writes where the variables lie in memory.
compiled_new_values = tf.function(new_values, jit_compile=True, autograph=False)
compiled_assignment = tf.function(
    functools.partial(assign_new_values, new_values), jit_compile=True, autograph=False
)


def make_train_step(state: TrainState, config: Config):
    """The compiled step: the images of all replicas → their summed loss, in nats.

    Losses and gradients are summed over the images of all replicas, as the official
    code sums them, and over `accumulate` batches that each replica takes one after
    another. Dropout masks follow from the seed, the step, the replica and the batch.

    A step whose loss or gradients are not finite changes no parameter, average or
    moment and no sum of losses; it is counted in bad_steps and reported on stderr.
    """
    strategy = tf.distribute.get_strategy()
    parameters = list(state.parameters.values())
    counters, step = state.counters, state.counters["step"]
    # The small parameters, which are many, go end to end as one; others by themselves.
    sizes = {name: math.prod(p.shape) for name, p in state.parameters.items()}
    small = [name for name, size in sizes.items() if size < LARGE]
    joined_names = [small, *([name] for name in sizes if name not in small)]
    images_per_step = images_at_a_time(config) * config.accumulate
    compiles = config.jit_compile is not False

    def gradients_of_batch(batch, seed):
        images = image_ops.quantize(batch["image"], config.num_levels)
        # Around the gradients too: with remat they run the blocks again. Within a
        # network that XLA compiles as a whole, the forms that it is good at.
        with fusion.fusing(compiles):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(parameters)
                losses = state.model.image_loss(
                    images, batch.get("label"), training=True, seed=seed
                )
                loss = tf.reduce_sum(losses)
            return loss, tape.gradient(loss, parameters)

    if config.jit_compile:
        gradients_of_batch = tf.function(
            gradients_of_batch, jit_compile=True, autograph=False
        )

    def gradients_of(batch, seed):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = noise.fold_in(seed, replica)
        if config.accumulate == 1:
            loss, gradients = gradients_of_batch(batch, seed)
        else:
            loss, gradients = accumulate(batch, seed)
        gradients = dict(zip(state.parameters, gradients, strict=True))
        gradients = [joined([gradients[n] for n in names]) for names in joined_names]
        return loss, gradients, tf.linalg.global_norm(gradients)

    def accumulate(batch, seed):
        """Sums over the batches, of which one is in memory at a time."""
        parts = {
            name: tf.reshape(
                values, [config.accumulate, config.batch_size, *values.shape[1:]]
            )
            for name, values in batch.items()
        }

        def add(i, loss, gradients):
            part = {name: values[i] for name, values in parts.items()}
            more_loss, more = gradients_of_batch(part, noise.fold_in(seed, i))
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            return i + 1, loss + more_loss, gradients

        _, loss, gradients = tf.while_loop(
            lambda i, *_: i < config.accumulate,
            add,
            (0, 0.0, [tf.zeros(p.shape) for p in parameters]),
            parallel_iterations=1,
        )
        return loss, gradients

    # Compiled, they are one pass over memory. A strategy's variables can be no operands
    # of a compiled function, which takes two of one shape for one another.
    values_after = compiled_new_values if compiles else new_values
    in_place = compiles and not tf.distribute.has_strategy()

    def update(gradients, is_good):
        settings = (
            learning_rate_at(config, step),
            Adam.corrections(step + 1),
            polyak.decay_at(step, config.polyak_decay, config.polyak_warmup),
            is_good,
        )

        def assign(_, variables, gradient):
            if in_place and len(variables[0]) == 1:
                compiled_assignment(variables, gradient, *settings)
            else:
                assign_new_values(values_after, variables, gradient, *settings)

        groups = (state.parameters, state.adam.v, state.adam.mg, state.averages)
        for names, gradient in zip(joined_names, gradients, strict=True):
            variables = [[group[name] for name in names] for group in groups]
            one = state.parameters[names[0]]
            strategy.extended.update(one, assign, (variables, gradient))

    def count(loss):
        for since in ("epoch", "interval"):
            counters[f"{since}_loss"].assign_add(tf.cast(loss, tf.float64))
            counters[f"{since}_images"].assign_add(images_per_step)
        counters["bad_steps"].assign(0)

    def leave_out(loss, norm, batch):
        counters["bad_steps"].assign_add(1)
        if not workers.is_chief(strategy):
            return
        here = strategy.experimental_local_results(batch["image"])
        levels = tf.cast(tf.concat(here, axis=0), tf.float32)
        tf.print(
            tf.strings.format(
                clearing_stderr()
                + "warning: step {} is left out, {} in a row: loss {}, norm of the "
                "gradients {}; levels of its images from {} to {}, mean {}",
                (
                    step + 1,
                    counters["bad_steps"],
                    loss,
                    norm,
                    tf.reduce_min(levels),
                    tf.reduce_max(levels),
                    tf.reduce_mean(levels),
                ),
            ),
            output_stream=sys.stderr,
        )

    def train_step(batch):
        seed = noise.fold_in(seed_for(config, DROPOUT), tf.cast(step, tf.int32))
        loss, gradients, norm = strategy.run(gradients_of, args=(batch, seed))
        loss = strategy.reduce(SUM, loss, axis=None)
        norm = strategy.reduce(SUM, norm, axis=None)
        where = [state.parameters[name] for name, *_ in joined_names]
        pairs = list(zip(gradients, where, strict=True))
        gradients = strategy.extended.batch_reduce_to(SUM, pairs)
        is_good = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        update(gradients, is_good)
        tf.cond(is_good, lambda: count(loss), lambda: leave_out(loss, norm, batch))
        counters["position"].assign_add(images_per_step)
        step.assign_add(1)
        return loss

    return tf.function(train_step, autograph=False)
