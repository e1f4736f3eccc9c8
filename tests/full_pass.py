"""Reference for the incremental sampler: one full pass of the network per pixel."""

import functools

import tensorflow as tf

from pixel_cnn_pp import images, prng


@functools.cache
def _compiled_features(model):
    return tf.function(model.features, autograph=False)


def sample_images(model, n, labels=None, seed=(0, 0), temperature=1.0):
    """Pixel values uint8 [n, H, W, C], drawn as the official sampler goes about it."""
    height, width, channels = model.image_shape
    shape = (height, width, model.noise_size)
    u = prng.uniform_per_image(tf.range(n), shape, tf.constant(seed))
    x = tf.zeros([n, height, width, channels])
    for i in range(height):
        for j in range(width):
            ul = _compiled_features(model)(x, labels)[:, i : i + 1, j : j + 1]
            pixel = model.sample_pixels(ul, u[:, i : i + 1, j : j + 1], temperature)
            here = tf.reshape(
                tf.range(height * width) == i * width + j, [height, width]
            )
            x = tf.where(here[..., None], pixel, x)
    return images.to_pixel_values(x, model.num_levels)
