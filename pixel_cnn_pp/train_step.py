"""The state of a training run, and its step."""

import sys

import tensorflow as tf

from pixel_cnn_pp import checkpoint, noise, polyak, workers
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.model import PixelCNNPP
from pixel_cnn_pp.optimizer import Adam
from pixel_cnn_pp.progress import clearing_stderr

# What is drawn from --seed, each under a number of its own.
INITIALIZATION, DROPOUT, EVALUATION, SAMPLES, COMPLETIONS = range(5)
SUM = tf.distribute.ReduceOp.SUM


class TrainState:
    """All that a run carries from one step to the next. Made under its strategy."""

    def __init__(self, config: Config):
        self.model = PixelCNNPP(**config.model_arguments(), name="model")
        self.averaged = PixelCNNPP(**config.model_arguments(), name="averaged")
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


def make_train_step(state: TrainState, config: Config):
    """The compiled step: a batch of all replicas → its summed loss, in nats.

    Losses and gradients are summed over the images of all replicas, as the official
    code sums them. Dropout masks follow from the seed, the step and the replica.

    A step whose loss or gradients are not finite changes no parameter, average or
    moment and no sum of losses; it is counted in bad_steps and reported on stderr.
    """
    strategy = tf.distribute.get_strategy()
    names = list(state.parameters)
    parameters = list(state.parameters.values())
    counters, step = state.counters, state.counters["step"]
    global_batch = config.batch_size * strategy.num_replicas_in_sync

    def gradients_of(batch, seed):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        images = image_ops.quantize(batch["image"], config.num_levels)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            losses = state.model.image_loss(
                images,
                batch.get("label"),
                training=True,
                seed=noise.fold_in(seed, replica),
            )
            loss = tf.reduce_sum(losses)
        gradients = tape.gradient(loss, parameters)
        return loss, gradients, tf.linalg.global_norm(gradients)

    def update(loss, gradients):
        state.adam.apply(
            dict(zip(names, gradients, strict=True)),
            learning_rate_at(config, step),
            step + 1,
        )
        decay = polyak.decay_at(step, config.polyak_decay, config.polyak_warmup)
        polyak.update(state.averages, state.parameters, decay)
        for since in ("epoch", "interval"):
            counters[f"{since}_loss"].assign_add(tf.cast(loss, tf.float64))
            counters[f"{since}_images"].assign_add(global_batch)
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
        pairs = list(zip(gradients, parameters, strict=True))
        gradients = strategy.extended.batch_reduce_to(SUM, pairs)
        tf.cond(
            tf.math.is_finite(loss) & tf.math.is_finite(norm),
            lambda: update(loss, gradients),
            lambda: leave_out(loss, norm, batch),
        )
        counters["position"].assign_add(global_batch)
        step.assign_add(1)
        return loss

    return tf.function(train_step, autograph=False)
