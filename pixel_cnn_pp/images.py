"""Images: what a set of them offers; pixel values ⇄ [-1, 1]; grids and PNGs."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import tensorflow as tf
from keras import ops

from pixel_cnn_pp.files import open_atomic

MAX_PNG_PIXELS = 2**27  # 400 MB of memory while the PNG is written.
SEEN_SIZE = 128  # Pixels a side of an image in a PNG, at least.

LOOKED_AT = 1000  # Images whose pixel values are looked at.


class ImageSet(Protocol):
    """A split of a data set, as training and evaluation use it.

    image_shape is (H, W, C); num_labels is the number of classes L and class_names are
    their names, None without labels; pixel values are 0 … num_levels − 1, 256 of them
    for ordinary images, and of `pixel_dtype`.
    """

    image_shape: tuple[int, int, int]
    num_images: int
    num_labels: int | None
    class_names: tuple[str, ...] | None
    num_levels: int

    def examples(
        self, epoch: int | None = None, seed: int = 0, start: int = 0
    ) -> tf.data.Dataset:
        """Dicts of 'image' [H, W, C] (and 'label' int32), each image once.

        In stored order, or for an epoch in the order that follows from (seed, epoch),
        without its first `start` examples.
        """

    def names(self) -> Iterator[str]:
        """Name of each image, in stored order."""


class _Mapped:
    """An ImageSet with a function applied to its examples, and what that changes."""

    def __init__(self, images: ImageSet, function: Callable, **changes):
        self._images, self._function = images, function
        for name in ImageSet.__annotations__:
            setattr(self, name, changes.get(name, getattr(images, name)))
        self.names = images.names

    def examples(self, *args, **kwargs) -> tf.data.Dataset:
        return self._images.examples(*args, **kwargs).map(self._function)


def relabel(images: ImageSet, class_names: tuple[str, ...] | None) -> ImageSet:
    """The images, labelled by position in the class names of a model.

    Raises ValueError if they have a class that the model has not.
    """
    if None in (images.class_names, class_names) or images.class_names == class_names:
        return images
    unknown = [name for name in images.class_names if name not in class_names]
    if unknown:
        raise ValueError(
            f"images of class {unknown[0]!r}: the model has the classes "
            f"{', '.join(class_names):.200}; give images of these."
        )
    label_of = [class_names.index(name) for name in images.class_names]

    def change_label(example):
        return example | {"label": tf.gather(label_of, example["label"])}

    names = {"class_names": class_names, "num_labels": len(class_names)}
    return _Mapped(images, change_label, **names)


def fingerprint(images: ImageSet, seed: int = 0, labels: bool = True) -> str:
    """Hash of the first images of epoch 0 and, unless False, their labels."""
    digest = hashlib.sha256()
    for example in images.examples(0, seed).take(32).as_numpy_iterator():
        for name in sorted(example) if labels else ["image"]:
            digest.update(np.ascontiguousarray(example[name]).tobytes())
    return digest.hexdigest()[:16]


def pixel_dtype(num_levels: int) -> np.dtype:
    """Type of pixel values: uint8, or int32 for more than 256 of them."""
    return np.dtype(np.uint8 if num_levels <= 256 else np.int32)


def quantized(images: ImageSet, num_levels: int) -> ImageSet:
    """The images with the pixel values 0 … num_levels − 1 of a model.

    8-bit images are quantized; images that have these values already are as they are.
    Raises ValueError for images of another number of values, and for 8-bit images with
    so small values that they look quantized.
    """
    if images.num_levels == num_levels:
        return images
    if images.num_levels != 256 or num_levels > 256:
        ordinary = ", or ordinary ones of 256" if num_levels < 256 else ""
        raise ValueError(
            f"--num_levels={num_levels}: the images have {images.num_levels} pixel "
            f"values; give images of {num_levels}{ordinary}, or train with "
            f"--num_levels={images.num_levels}."
        )
    first = images.examples().take(LOOKED_AT).map(lambda example: example["image"])
    highest = max(int(image.max()) for image in first.as_numpy_iterator())
    if highest < num_levels:
        raise ValueError(
            f"--num_levels={num_levels}: no pixel value of the images is above "
            f"{highest}, so they look quantized already; save num_levels={num_levels} "
            f"beside them in the npz, or multiply them by {256 // num_levels}."
        )

    def change_values(example):
        return example | {"image": quantize(example["image"], num_levels)}

    return _Mapped(images, change_values, num_levels=num_levels)


def quantize(images: tf.Tensor, num_levels: int) -> tf.Tensor:
    """8-bit images, uint8 in 0 … 255, to pixel values, uint8 in 0 … num_levels − 1."""
    return tf.cast(tf.cast(images, tf.int32) * num_levels // 256, tf.uint8)


def to_float(images: tf.Tensor, num_levels: int = 256) -> tf.Tensor:
    """Pixel values, integers in 0 … num_levels − 1, to float32 in [-1, 1]."""
    if not (images := tf.convert_to_tensor(images)).dtype.is_integer:
        raise ValueError(
            f"images {images.dtype.name}: must be integers, 0 to {num_levels - 1}."
        )
    half = (num_levels - 1) / 2
    return (tf.cast(images, tf.float32) - half) / half


def to_pixel_values(x: tf.Tensor, num_levels: int = 256) -> tf.Tensor:
    """Float [-1, 1] to the nearest pixel value, `pixel_dtype` in 0 … num_levels − 1."""
    half = (num_levels - 1) / 2
    values = tf.round((tf.clip_by_value(x, -1.0, 1.0) + 1.0) * half)
    return tf.cast(values, pixel_dtype(num_levels))


def round_to_bin(x: tf.Tensor, num_levels: int) -> tf.Tensor:
    """Float to the nearest pixel value, as float in [-1, 1]: the centre of its bin."""
    return to_float(to_pixel_values(x, num_levels), num_levels)


def to_8_bit(images: np.ndarray, num_levels: int = 256) -> np.ndarray:
    """Pixel values spread over 0 … 255 for display, uint8."""
    spread = np.round(np.asarray(images, np.float64) * (255 / (num_levels - 1)))
    return spread.astype(np.uint8)


def in_range(values: tf.Tensor, count: int) -> tf.Tensor:
    """Whether integers of any type, in eager code, a graph or a functional model, are
    from 0 to count − 1."""
    values = ops.saturate_cast(values, "int32")
    return (values >= 0) & (values < count)


def first_rows(rows: int | tf.Tensor, image_shape: tuple[int, int, int]):
    """True in the first `rows` rows, bool [H, W]; a tensor if `rows` is one, int32."""
    return rows > np.indices(image_shape[:2], np.int32)[0]


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


def scale_to_see(image_shape: tuple[int, int, int]) -> int:
    """For `enlarge`: images of less than SEEN_SIZE pixels a side become that large."""
    return max(1, -(-SEEN_SIZE // max(image_shape[:2])))


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


def write_png(path: str, grid: np.ndarray) -> None:
    """Writes a grid, uint8 [H, W, C]."""
    with open_atomic(path, "wb") as file:
        file.write(tf.io.encode_png(visible(grid)).numpy())


def write_grid(path: str, grid: np.ndarray, **arrays: np.ndarray) -> None:
    """Writes a grid, uint8 [H, W, C], to path.png and arrays to path.npz.

    The NPZ first: where there is a PNG of ours, there is an NPZ.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open_atomic(path + ".npz", "wb") as file:
        np.savez(file, **arrays)
    write_png(path + ".png", grid)
