"""Scores as evaluate.py does, with products as a GPU computes them in TensorFloat-32.

`python tools/tf32.py --save_dir=RUN` takes the flags of evaluate.py. The two factors of
each product of the network are rounded to 10 bits of mantissa; sums stay float32.
Sampling is not changed.
"""

import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import cli  # Before TensorFlow: it sets its log level.

# isort: split
import tensorflow as tf

import evaluate
from pixel_cnn_pp.layers import convolution, weight_norm

flags.adopt_module_key_flags(evaluate)

DROPPED_BITS = 13  # Of the 23 bits of float32's mantissa.


def rounded(x: tf.Tensor) -> tf.Tensor:
    """float32 of any shape to the nearest TensorFloat-32, halves away from zero."""
    bits = tf.bitcast(x, tf.int32) + (1 << (DROPPED_BITS - 1))
    return tf.bitcast(bits & -(1 << DROPPED_BITS), tf.float32)


def round_factors(layer: type[weight_norm.WeightNorm]) -> None:
    """Makes the layers of a class round the factors of their products."""
    exact = layer.linear
    layer.linear = lambda self, x, kernel: exact(self, rounded(x), rounded(kernel))


def main(argv):
    for layer in (convolution.Dense, convolution.Conv2D, convolution.Deconv2D):
        round_factors(layer)
    evaluate.main(argv)


if __name__ == "__main__":
    cli.run(main)
