"""Gradients that are written out."""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from pixel_cnn_pp import fusion


def custom_gradient(function: Callable) -> Callable:
    """tf.custom_gradient, for what is traced into many graphs.

    TensorFlow never lets go of a graph in which a custom gradient was traced. So in a
    graph the function is a call of one of its own, of which there is one for each
    shape and type of its tensors, given by position, and of what else it takes, given
    by name and hashable; with and without fusion.
    """

    def eager(*tensors, **settings):
        is_on = fusion.is_on()

        def forward(*x):
            y, gradient = function(*x, **settings)

            def backward(*upstream):  # As the forward pass was, whenever it is traced.
                with fusion.fusing(is_on):
                    return gradient(*upstream)

            return y, backward

        return tf.custom_gradient(forward)(*tensors)

    plain, fused = (tf.function(eager, autograph=False) for _ in range(2))

    @functools.wraps(function)
    def call(*tensors, **settings):
        traced = fused if fusion.is_on() else plain
        return (traced if tf.inside_function() else eager)(*tensors, **settings)

    return call


def recomputed(block: Callable, variables: list[keras.Variable]) -> Callable:
    """The block, whose maps a graph does not keep for its gradient but computes again.

    Args:
        block: tensors → a tensor.
        variables: those that it reads; the gradient is also theirs.

    Kernels and dropout masks of the block are made when its first operand is there, so
    that those of all blocks are not in memory together. Smaller than what
    tf.recompute_grad makes; like that, it stays in memory until the process ends.
    """

    n = len(variables)

    def run(*tensors):
        """The block with values of its variables, which come first, and operands."""
        with keras.StatelessScope(zip(variables, tensors[:n], strict=True)):
            return block(*tensors[n:])

    @tf.custom_gradient
    def call(*tensors):
        def gradient(upstream):
            # XLA looks at data alone: it would take the maps of the forward pass for
            # these, and keep them, if their operands were the same.
            zero = 0.0 * tf.reshape(upstream, [-1])[0]
            late = [x + tf.cast(zero, x.dtype) for x in tensors]
            with tf.control_dependencies([upstream]), tf.GradientTape() as tape:
                tape.watch(late)
                y = run(*late)
            gradients = tape.gradient(y, late, upstream, tf.UnconnectedGradients.ZERO)
            # All of them before the next block, whose maps would lie beside its own.
            return tf.identity_n(gradients)

        with tf.control_dependencies([tensors[n]]):
            return run(*tensors), gradient

    def of_operands(*operands):
        return call(*(tf.convert_to_tensor(v.value) for v in variables), *operands)

    return of_operands
