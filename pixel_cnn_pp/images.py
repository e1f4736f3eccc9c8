"""Images: what a set of them offers; pixel values ⇄ [-1, 1]; grids and PNGs."""

import math
import os
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import tensorflow as tf

from pixel_cnn_pp.files import open_atomic

MAX_PNG_PIXELS = 2**27  # 400 MB of memory while the PNG is written.


class ImageSet(Protocol):
    """A split of a data set, as training and evaluation use it.

    image_shape is (H, W, C); num_labels is the number of classes L and class_names are
    their names, None without labels.
    """

    image_shape: tuple[int, int, int]
    num_images: int
    num_labels: int | None
    class_names: tuple[str, ...] | None

    def examples(
        self, epoch: int | None = None, seed: int = 0, start: int = 0
    ) -> tf.data.Dataset:
        """Dicts of 'image' uint8 [H, W, C] (and 'label' int32), each image once.

        In stored order, or for an epoch in the order that follows from (seed, epoch),
        without its first `start` examples.
        """

    def names(self) -> Iterator[str]:
        """Name of each image, in stored order."""


class Relabelled:
    """An ImageSet whose labels are positions in other `class_names`."""

    def __init__(self, images: ImageSet, class_names: tuple[str, ...]):
        """Raises ValueError if the images have a class that is not in class_names."""
        unknown = [name for name in images.class_names if name not in class_names]
        if unknown:
            raise ValueError(
                f"images of class {unknown[0]!r}: the model has the classes "
                f"{', '.join(class_names):.200}; give images of these."
            )
        self.images = images
        self.class_names = class_names
        self.num_labels = len(class_names)
        self.image_shape, self.num_images = images.image_shape, images.num_images
        self.names = images.names
        self.label_of = [class_names.index(name) for name in images.class_names]

    def examples(self, *args, **kwargs) -> tf.data.Dataset:
        def relabel(example):
            return example | {"label": tf.gather(self.label_of, example["label"])}

        return self.images.examples(*args, **kwargs).map(relabel)


def relabel(images: ImageSet, class_names: tuple[str, ...] | None) -> ImageSet:
    """The images with the labels that a model with these class names takes."""
    if None in (images.class_names, class_names) or images.class_names == class_names:
        return images
    return Relabelled(images, class_names)


def quantize(images: tf.Tensor, num_levels: int) -> tf.Tensor:
    """8-bit images, uint8 in 0 … 255, to pixel values, uint8 in 0 … num_levels − 1."""
    if num_levels == 256:
        return images
    return tf.cast(tf.cast(images, tf.int32) * num_levels // 256, tf.uint8)


def to_float(images: tf.Tensor, num_levels: int = 256) -> tf.Tensor:
    """Pixel values, uint8 in 0 … num_levels − 1, to float32 in [-1, 1]."""
    half = (num_levels - 1) / 2
    return (tf.cast(images, tf.float32) - half) / half


def to_levels(x: tf.Tensor, num_levels: int = 256) -> tf.Tensor:
    """Float [-1, 1] to the nearest pixel value, uint8 in 0 … num_levels − 1."""
    half = (num_levels - 1) / 2
    return tf.cast(tf.round((tf.clip_by_value(x, -1.0, 1.0) + 1.0) * half), tf.uint8)


def to_8_bit(images: np.ndarray, num_levels: int = 256) -> np.ndarray:
    """Pixel values, uint8, spread over 0 … 255 for display."""
    spread = np.round(np.asarray(images, np.float64) * (255 / (num_levels - 1)))
    return spread.astype(np.uint8)


def tile(images: np.ndarray, columns: int | None = None, border: int = 1) -> np.ndarray:
    """uint8 [N, H, W, C] as a grid with white borders, uint8 [H′, W′, C].

    About as many columns as rows, unless `columns` is given.
    """
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    grid = np.full(
        (rows * (h + border) + border, columns * (w + border) + border, c),
        255,
        np.uint8,
    )
    for i, image in enumerate(images):
        top = border + (i // columns) * (h + border)
        left = border + (i % columns) * (w + border)
        grid[top : top + h, left : left + w] = image
    return grid


def visible(image: np.ndarray) -> np.ndarray:
    """[H, W, C] with 1 or 3 channels for a PNG; of other numbers the first alone."""
    return image if image.shape[-1] in (1, 3) else image[..., :1]


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """[H, W, C] with each pixel a square of `scale`×`scale`."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def check_png_size(image_shape: tuple[int, int, int], n: int, scale: int) -> None:
    """Raises ValueError where a grid of n images has more than MAX_PNG_PIXELS."""
    height, width, _ = image_shape
    pixels = n * (height + 1) * (width + 1)
    if pixels * scale**2 > MAX_PNG_PIXELS:
        most = math.isqrt(MAX_PNG_PIXELS // pixels)
        remedy = f"--scale={most} or less" if most else "fewer images"
        raise ValueError(
            f"--scale={scale}: a PNG of {n} images of {height}×{width} would have more "
            f"than {MAX_PNG_PIXELS // 10**6} million pixels; give {remedy}."
        )


def write_grid(path: str, grid: np.ndarray, **arrays: np.ndarray) -> None:
    """Writes a grid, uint8 [H, W, C], to path.png and arrays to path.npz.

    The NPZ is written last: where it is, both are whole.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open_atomic(path + ".png", "wb") as file:
        file.write(tf.io.encode_png(visible(grid)).numpy())
    with open_atomic(path + ".npz", "wb") as file:
        np.savez(file, **arrays)
