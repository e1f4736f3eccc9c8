"""Images of any size, made square and of one size."""

import tensorflow as tf


def crop_and_resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """The square in the centre, averaged down to uint8 [size, size, C]."""
    h, w = tf.shape(image)[0], tf.shape(image)[1]
    side = tf.minimum(h, w)
    square = tf.image.crop_to_bounding_box(
        image, (h - side) // 2, (w - side) // 2, side, side
    )
    small = tf.image.resize(square, (size, size), method="area")
    return tf.cast(tf.round(small), tf.uint8)
