"""Adam as the official code has it, and Polyak averages (EMA parameters)."""

import math
from typing import Any

import keras
import tensorflow as tf


class Adam:
    """The official `adam_updates`: epsilon inside the root, bias-corrected moments.

        v ← .95 v + .05 g,  mg ← .9995 mg + .0005 g²,
        p ← p − lr · (v / (1 − .95ᵗ)) / √(mg / (1 − .9995ᵗ) + 1e-8)

    `v` and `mg` map the names of the parameters to their moments.
    Difference from the official code: t is 1 in the first step, whereas the TF1 graph
    increments it in no fixed order.
    """

    mom1 = 0.95
    mom2 = 0.9995
    epsilon = 1e-8

    def __init__(self, parameters: dict[str, tf.Variable]):
        self.v = {name: _zeros_like(p) for name, p in parameters.items()}
        self.mg = {name: _zeros_like(p) for name, p in parameters.items()}

    @classmethod
    def corrections(cls, t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Bias corrections of v and of mg in the t-th step, the divisors above."""
        t = tf.cast(t, tf.float32)
        return 1.0 - tf.pow(cls.mom1, t), 1.0 - tf.pow(cls.mom2, t)

    @classmethod
    def step(
        cls,
        p: tf.Tensor,
        v: tf.Tensor,
        mg: tf.Tensor,
        g: tf.Tensor,
        learning_rate: tf.Tensor,
        corrections: tuple[tf.Tensor, tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """New p, v and mg of one parameter, from its gradient g, summed over images and
        replicas."""
        v_correction, mg_correction = corrections
        v = cls.mom1 * v + (1.0 - cls.mom1) * g
        mg = cls.mom2 * mg + (1.0 - cls.mom2) * tf.square(g)
        root = tf.sqrt(mg / mg_correction + cls.epsilon)
        return p - learning_rate * (v / v_correction) / root, v, mg


@keras.saving.register_keras_serializable("pixel_cnn_pp")
class OfficialAdam(keras.optimizers.Optimizer):
    """`Adam` above, with the official learning rate, for `model.compile`.

    The official loss is the sum over the images of a step and Keras's their mean. Adam
    makes the same step of both but for epsilon, so each gradient is multiplied by
    `images_per_step` first; the learning rate needs no change.

    Args:
        learning_rate: before decay; callbacks may set it.
        lr_decay: factor of the learning rate, applied before every step.
        images_per_step: images of all replicas in a step, all accumulated ones too.
        name, **kwargs: those of keras.optimizers.Optimizer, such as use_ema=True with
            ema_momentum=0.9995 for Polyak averages.

    ValueError for a setting that is not allowed.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        lr_decay: float = 0.999995,
        images_per_step: int = 128,
        name: str = "official_adam",
        **kwargs: Any,
    ):
        if isinstance(learning_rate, (int, float)) and not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate={learning_rate}: must be above 0, finite.")
        if not 0 < lr_decay <= 1:
            raise ValueError(f"lr_decay={lr_decay}: must be above 0 and at most 1.")
        if images_per_step < 1:
            raise ValueError(f"images_per_step={images_per_step}: must be 1 or more.")
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.lr_decay = lr_decay
        self.images_per_step = images_per_step

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.v, self.mg = self.add_optimizer_variables(variables, ["v", "mg"])

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        targets = variable, self.v[index], self.mg[index]
        step = tf.convert_to_tensor(self.iterations)
        new = Adam.step(
            *map(tf.convert_to_tensor, targets),
            tf.convert_to_tensor(gradient) * self.images_per_step,
            learning_rate_at(step, learning_rate, self.lr_decay),
            Adam.corrections(step + 1),
        )
        for target, value in zip(targets, new, strict=True):
            self.assign(target, value)

    def get_config(self):
        own = {"lr_decay": self.lr_decay, "images_per_step": self.images_per_step}
        return super().get_config() | own


def _zeros_like(p: tf.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(p.shape), trainable=False)


def learning_rate_at(
    step: tf.Tensor, learning_rate: float | tf.Tensor, lr_decay: float
) -> tf.Tensor:
    """Learning rate of step number step + 1: decayed before every step.

    A function of the step, so a resumed run continues with its learning rate (the
    official code starts again from the full one).
    """
    decay = tf.pow(tf.constant(lr_decay, tf.float64), tf.cast(step + 1, tf.float64))
    return tf.cast(tf.cast(learning_rate, tf.float64) * decay, tf.float32)


def ema_decay_at(step: tf.Tensor, polyak_decay: float, warmup: bool) -> tf.Tensor:
    """Decay of the EMA in the step after `step` earlier ones.

    With `warmup` min(polyak_decay, (1 + step) / (10 + step)), so that the EMA of a
    short run is of use; the official rule is `polyak_decay` throughout.
    """
    if not warmup:
        return tf.constant(polyak_decay)
    t = tf.cast(step, tf.float32)
    return tf.minimum(polyak_decay, (1.0 + t) / (10.0 + t))


def start_ema(
    ema_parameters: dict[str, tf.Variable], parameters: dict[str, tf.Variable]
) -> None:
    """Sets the EMA parameters to the parameters.

    Called after the data-dependent initialisation. Difference from the official code,
    whose EMA starts at the values from before it.
    """
    for name, ema in ema_parameters.items():
        ema.assign(parameters[name])


def ema_step(ema: tf.Tensor, parameter: tf.Tensor, decay: tf.Tensor) -> tf.Tensor:
    """decay · ema + (1 − decay) · parameter."""
    return ema - (1.0 - decay) * (ema - parameter)
