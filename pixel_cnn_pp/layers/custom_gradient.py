"""Custom gradients: hand-written ones, and recomputation (--remat)."""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from pixel_cnn_pp.layers import fusion


def custom_gradient(function: Callable) -> Callable:
    """tf.custom_gradient without its memory leak.

    TensorFlow keeps every graph in which a custom gradient was traced for ever. So
    inside a graph the function becomes a call of a tf.function of its own, traced once
    per shape and type of its tensors (positional) and per value of its other arguments
    (by name, hashable), with and without fusion.
    """

    def apply(*tensors, **settings):
        is_on = fusion.is_on()

        def forward(*x):
            y, gradient = function(*x, **settings)

            def backward(*upstream):  # Fused if the forward pass was.
                with fusion.fusing(is_on):
                    return gradient(*upstream)

            return y, backward

        return tf.custom_gradient(forward)(*tensors)

    # Two functions of the same code: fusion is read while tracing, and is no part of
    # the key under which a trace is found again.
    plain, fused = (tf.function(apply, autograph=False) for _ in range(2))

    @functools.wraps(function)
    def call(*tensors, **settings):
        traced = fused if fusion.is_on() else plain
        return (traced if tf.inside_function() else apply)(*tensors, **settings)

    return call


def recomputed(block: Callable, variables: list[keras.Variable]) -> Callable:
    """`block` without stored activations: its gradient runs it again.

    Args:
        block: tensors → a tensor.
        variables: the variables that it reads, which get gradients too.

    3,200 operations fewer than with tf.recompute_grad at the default size, and unlike
    it effective under XLA.
    """
    n = len(variables)

    def run(*tensors):
        """The block, given the values of its variables and then its inputs."""
        with keras.StatelessScope(zip(variables, tensors[:n], strict=True)):
            return block(*tensors[n:])

    @tf.custom_gradient
    def run_with_gradient(*tensors):
        def gradient(upstream):
            # XLA would merge the second pass with the first, and so keep the
            # activations, if both had the same inputs.
            zero = 0.0 * tf.reshape(upstream, [-1])[0]
            inputs = [x + tf.cast(zero, x.dtype) for x in tensors]
            with tf.control_dependencies([upstream]), tf.GradientTape() as tape:
                tape.watch(inputs)
                y = run(*inputs)
            zeros = tf.UnconnectedGradients.ZERO
            gradients = tape.gradient(y, inputs, upstream, zeros)
            # All of them before the next block, so that two blocks' activations are
            # not in memory at once.
            return tf.identity_n(gradients)

        # Kernels and dropout masks are made when the input is there, not all at once.
        with tf.control_dependencies([tensors[n]]):
            return run(*tensors), gradient

    def call(*inputs):
        values = (tf.convert_to_tensor(v.value) for v in variables)
        return run_with_gradient(*values, *inputs)

    return call
