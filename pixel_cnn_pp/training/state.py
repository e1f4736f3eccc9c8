"""TrainState: all that a run carries from one step to the next."""

import tensorflow as tf

from pixel_cnn_pp import checkpoint, distribution, prng
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.model import PixelCNNPP
from pixel_cnn_pp.training.optimizer import Adam


def seed_for(config: Config, purpose: int, step=None) -> tf.Tensor:
    """The seed of a purpose, and unless it is None of a step, int32 [2]."""
    seed = tf.constant([config.seed, purpose], tf.int32)
    return seed if step is None else prng.fold_in(seed, tf.cast(step, tf.int32))


class TrainState:
    """Model, EMA model, optimizer and counters of a run on a strategy's replicas."""

    def __init__(self, config: Config, strategy: tf.distribute.Strategy):
        with strategy.scope():
            self.model = PixelCNNPP(
                **vars(config.model), seed=config.seed, name="model"
            )
            self.model.set_precision(config.precision)
            self.model.set_remat(config.remat)
            self.ema_model = PixelCNNPP(
                **vars(config.model), initial_weights=False, name="ema_model"
            )
            jit_compile = distribution.xla_scope(config.jit_compile)
            self.ema_model.set_jit_compile(jit_compile is not False)
            self.parameters = self.model.tf_variables()
            self.ema_parameters = self.ema_model.tf_variables()
            self.adam = Adam(self.parameters)
            self.sums = {
                # Sums of the training loss and of images, since the epoch began and
                # since the last row of metrics.
                "epoch_loss": _counter(tf.float64),
                "epoch_images": _counter(),
                "interval_loss": _counter(tf.float64),
                "interval_images": _counter(),
                # Steps skipped in a row because a loss or a gradient was not finite.
                "bad_steps": _counter(),
            }
        # On the host and once for all replicas: what the host reads for every step.
        with tf.device(prng.HOST):
            host = {
                # Steps done; epochs done; images of the epoch's order that were taken.
                "step": _counter(),
                "epoch": _counter(),
                "position": _counter(),
                # Rows of metrics so far; the last step that ended an epoch or the run
                # with a row, a checkpoint and samples.
                "rows": _counter(),
                "closed_step": _counter(),
                # The run that a checkpoint belongs to.
                "run_id": _counter(value=config.run_id),
            }
        self.counters = host | self.sums

    def groups(self) -> checkpoint.Groups:
        """Every variable by its name in a checkpoint."""
        return {
            "parameters": self.parameters,
            "averages": self.ema_parameters,
            "adam_v": self.adam.v,
            "adam_mg": self.adam.mg,
            "counters": self.counters,
        }

    def count(self, name: str) -> int:
        return int(self.counters[name].numpy())


def _counter(dtype: tf.DType = tf.int64, value: int = 0) -> tf.Variable:
    return tf.Variable(value, trainable=False, dtype=dtype)
