"""Very small models, and the incremental pass along given images, for the tests."""

import numpy as np
import tensorflow as tf

from pixel_cnn_pp import PixelCNNPP, images
from pixel_cnn_pp.sampling.incremental import IncrementalPass
from pixel_cnn_pp.sampling.kernels import FoldedNetwork

SMALL = {"nr_resnet": 1, "nr_filters": 8, "nr_logistic_mix": 2, "dropout_p": 0.0}


def random_images(n, model, seed=0):
    rng = np.random.default_rng(seed)
    shape = (n, *model.image_shape)
    return rng.integers(0, model.num_levels, shape, dtype=model.image_dtype)


def to_float(values, model):
    return images.to_float(tf.constant(values), model.num_levels)


def initialized(image_shape, **changes):
    model = PixelCNNPP(image_shape, **(SMALL | changes))
    labels = tf.range(16) % model.num_labels if model.num_labels else None
    model.initialize(to_float(random_images(16, model, 1), model), labels)
    return model


@tf.function(jit_compile=True, autograph=False)
def parameters_by_pixel(model, kernels, conditions, x):
    """The output layer at every pixel of x, [N, H, W, D], by the incremental pass."""
    n = tf.shape(x)[0]
    height, width, channels = model.image_shape
    folded = FoldedNetwork(model, kernels, conditions, n)
    net = IncrementalPass(folded)

    def pixel(i, j, cache, found):
        ul, cache = net.features(cache, i, j)
        here = tf.slice(x, [0, i, j, 0], [n, 1, 1, channels])
        place = tf.range(height * width) == i * width + j
        place = tf.reshape(place, [height, width, 1])
        l = model.head.forward(folded.run_plain, ul, here)
        found = tf.where(place, l, found)
        return i, j + 1, net.set_pixel(cache, i, j, here), found

    def row(i, cache, found):
        start = (i, tf.constant(0), net.begin_row(cache, i), found)
        *_, cache, found = tf.while_loop(lambda i, j, *_: j < width, pixel, start)
        return i + 1, cache, found

    size = model.objective.num_parameters
    start = (tf.constant(0), net.start(), tf.zeros([n, height, width, size]))
    return tf.while_loop(lambda i, *_: i < height, row, start)[-1]


def share_equal(a, b):
    """Share of images that are the same: rounding may move one to another bin."""
    return np.mean((np.asarray(a) == np.asarray(b)).all(axis=(1, 2, 3)))
