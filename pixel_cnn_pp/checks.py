"""Checks of the images and labels that a PixelCNNPP is given."""

import numpy as np
import tensorflow as tf


def check_images(model, images) -> tf.Tensor:
    """The images as a tensor, or a ValueError that says what is wrong with them."""
    images = np.asarray(images)
    fits = images.dtype == np.uint8 and images.shape[1:] == model.image_shape
    if not fits or not len(images):
        raise ValueError(
            f"images {images.dtype} {list(images.shape)}: this model takes uint8 "
            f"{['N', *model.image_shape]}, N ≥ 1."
        )
    if images.max() >= model.num_levels:
        raise ValueError(
            f"image level {images.max()}: this model has levels 0 … "
            f"{model.num_levels - 1}; use pixel_cnn_pp.images.quantize."
        )
    return tf.constant(images)


def check_labels(model, labels, n: int) -> tf.Tensor:
    """The labels as int32 [n], or a ValueError that says what is wrong."""
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels {labels.dtype} {list(labels.shape)}: {n} images take integers "
            f"[{n}]."
        )
    if n and not 0 <= labels.min() <= labels.max() < (model.num_labels or 0):
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()}: this model has "
            f"num_labels={model.num_labels}."
        )
    return tf.constant(labels, tf.int32)


def check_scored(model, images, labels) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Images to score and their labels, or a ValueError that says what is wrong."""
    if model.energy_distance:
        raise ValueError(
            "energy_distance=True: such a model draws images but has no likelihood; "
            "train without it."
        )
    images = check_images(model, images)
    if labels is not None:
        labels = check_labels(model, labels, len(images))
    return images, labels
