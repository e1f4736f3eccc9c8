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

    def apply(
        self, gradients: dict[str, tf.Tensor], learning_rate: tf.Tensor, t: tf.Tensor
    ) -> None:
        """One step, the t-th, with gradients summed over images and replicas.

        Called in cross-replica context: every replica's copy is updated alike.
        """
        t = tf.cast(t, tf.float32)
        v_correction = 1.0 - tf.pow(self.mom1, t)
        mg_correction = 1.0 - tf.pow(self.mom2, t)

        def update(p, v, mg, g):
            new_v = self.mom1 * v + (1.0 - self.mom1) * g
            new_mg = self.mom2 * mg + (1.0 - self.mom2) * tf.square(g)
            root = tf.sqrt(new_mg / mg_correction + self.epsilon)
            v.assign(new_v)
            mg.assign(new_mg)
            p.assign(p - learning_rate * (new_v / v_correction) / root)

        extended = tf.distribute.get_strategy().extended
        for name, p in self.parameters.items():
            extended.update(p, update, (self.v[name], self.mg[name], gradients[name]))


def _zeros_like(p: tf.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(p.shape), trainable=False)
