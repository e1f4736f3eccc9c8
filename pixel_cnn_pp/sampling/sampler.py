"""Sampler: batches of images, sampled pixel by pixel in one compiled function."""

import tensorflow as tf

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import prng
from pixel_cnn_pp.distribution import has_gpu
from pixel_cnn_pp.network import Network
from pixel_cnn_pp.sampling.incremental import IncrementalPass
from pixel_cnn_pp.sampling.kernels import FoldedNetwork, conditions_of, fold_kernels

# Logits are divided by the temperature: by less than this they could overflow.
MIN_TEMPERATURE = 1e-6
# Images are sampled so many at a time, each number compiled once, when first needed.
BATCH_SIZES = (1, 4, 16, 64)
# On a GPU, whose time for a pixel hardly grows with the batch.
GPU_BATCH_SIZES = (*BATCH_SIZES, 256, 1024)
# With more images left than entry k, a batch of size k + 1 in the list is used, partly
# filled.
LARGER_BATCH_ABOVE = (1, 8, 32, 128, 512)


class Sampler:
    """Samples images of a Network; what it compiles is kept.

    `sample` takes images [N, H, W, C], keep bool [N, H, W], labels int32 [N]
    (ignored by a model without labels), seed int32 [2], temperature float32 [] and
    first int32 []; it returns [N, H, W, C], the pixels of `images` where `keep`,
    sampled ones elsewhere. Images are of the network's `image_dtype`. Image i is a
    function of (seed, first + i).

    jit_compile=False does without XLA: slower, for servers that lack it.
    """

    def __init__(self, network: Network, jit_compile: bool = True):
        self.network = network
        self.batch_sizes = GPU_BATCH_SIZES if has_gpu() else BATCH_SIZES
        shape = network.image_shape
        images = tf.TensorSpec([None, *shape], network.image_dtype)
        keep = tf.TensorSpec([None, *shape[:2]], tf.bool)
        number = tf.TensorSpec([], tf.int32)
        temperature = tf.TensorSpec([], tf.float32)
        labels, seed = tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)
        self.sample = tf.function(
            self._sample,
            input_signature=[images, keep, labels, seed, temperature, number],
            autograph=False,
        )
        self._compiled_batch = tf.function(
            self._sample_batch, autograph=False, jit_compile=jit_compile
        )

    def _sample(self, images, keep, labels, seed, temperature, first):
        network = self.network
        total = tf.shape(images)[0]
        kernels = fold_kernels(network)

        def sample_next(start, samples):
            # A larger batch, partly filled, where that costs less than several smaller.
            left = total - start
            limits = LARGER_BATCH_ABOVE[: len(self.batch_sizes) - 1]
            choice = tf.reduce_sum(tf.cast(left > limits, tf.int32))
            index = start + tf.range(tf.gather(self.batch_sizes, choice))
            # Places beyond the last image repeat it, and are cut off below.
            source = tf.minimum(index, total - 1)
            shape = (*network.image_shape[:2], network.noise_size)
            batch = self._compiled_batch(
                kernels,
                conditions_of(network, tf.gather(labels, source)),
                prng.uniform_per_image(first + index, shape, seed),
                tf.gather(images, source),
                tf.gather(keep, source),
                temperature,
            )
            samples = tf.concat([samples, batch[:left]], axis=0)
            return tf.minimum(start + tf.size(index), total), samples

        _, samples = tf.while_loop(
            lambda start, _: start < total,
            sample_next,
            (tf.constant(0), images[:0]),
            shape_invariants=(tf.TensorShape([]), images.shape),
        )
        return samples

    def _sample_batch(self, kernels, conditions, noise, images, keep, temperature):
        network = self.network
        height, width, _ = network.image_shape
        n = tf.shape(images)[0]
        x = image_ops.to_float(images, network.num_levels)
        folded = FoldedNetwork(network, kernels, conditions, n)
        net = IncrementalPass(folded)

        def sample_pixel(i, j, cache):
            def here(values):
                return tf.slice(values, [0, i, j, 0], [n, 1, 1, values.shape[-1]])

            ul, cache = net.features(cache, i, j)
            pixel = network.sample_pixels(
                ul, here(noise), temperature, folded.run_plain
            )
            pixel = tf.where(here(keep[..., None]), here(x), pixel)
            return i, j + 1, net.set_pixel(cache, i, j, pixel)

        def sample_row(i, cache):
            start = (i, tf.constant(0), net.begin_row(cache, i))
            *_, cache = tf.while_loop(lambda i, j, _: j < width, sample_pixel, start)
            return i + 1, cache

        start = (tf.constant(0), net.start())
        _, cache = tf.while_loop(lambda i, _: i < height, sample_row, start)
        return image_ops.to_pixel_values(net.image(cache), network.num_levels)
