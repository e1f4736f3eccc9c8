"""Adam as the official code has it."""

import tensorflow as tf


class Adam:
    """The official `adam_updates`: epsilon inside the root, bias-corrected moments.

        v ← .95 v + .05 g,  mg ← .9995 mg + .0005 g²,
        p ← p − lr · (v / (1 − .95ᵗ)) / √(mg / (1 − .9995ᵗ) + 1e-8)

    `parameters` maps names to tf.Variables; `v` and `mg` have the same names.
    Deviation: t is 1 in the first step, whereas the TF1 graph increments it in no fixed
    order.
    """

    mom1 = 0.95
    mom2 = 0.9995
    epsilon = 1e-8

    def __init__(self, parameters: dict[str, tf.Variable]):
        self.parameters = parameters
        self.v = {name: _zeros_like(p) for name, p in parameters.items()}
        self.mg = {name: _zeros_like(p) for name, p in parameters.items()}

    @classmethod
    def corrections(cls, t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the moments are divided by in the t-th step: those of v and of mg."""
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


def _zeros_like(p: tf.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(p.shape), trainable=False)
