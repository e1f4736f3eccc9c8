"""Images: uint8 levels ⇄ [-1, 1], tiles, PNG."""

import math
import os

import numpy as np
import tensorflow as tf


def quantize(images: tf.Tensor, num_levels: int) -> tf.Tensor:
    """8-bit images, uint8 in 0 … 255, to levels, uint8 in 0 … num_levels − 1."""
    if num_levels == 256:
        return images
    return tf.cast(tf.cast(images, tf.int32) * num_levels // 256, tf.uint8)


def to_float(images: tf.Tensor, num_levels: int = 256) -> tf.Tensor:
    """Levels, uint8 in 0 … num_levels − 1, to float32 in [-1, 1]."""
    half = (num_levels - 1) / 2
    return (tf.cast(images, tf.float32) - half) / half


def to_levels(x: tf.Tensor, num_levels: int = 256) -> tf.Tensor:
    """Float [-1, 1] to the nearest level, uint8 in 0 … num_levels − 1."""
    half = (num_levels - 1) / 2
    return tf.cast(tf.round((tf.clip_by_value(x, -1.0, 1.0) + 1.0) * half), tf.uint8)


def to_8_bit(images: np.ndarray, num_levels: int = 256) -> np.ndarray:
    """Levels, uint8, spread over 0 … 255 for the eye."""
    spread = np.round(np.asarray(images, np.float64) * (255 / (num_levels - 1)))
    return spread.astype(np.uint8)


def tile(images: np.ndarray, columns: int | None = None, border: int = 1) -> np.ndarray:
    """uint8 [N, H, W, C] side by side in rows with white borders: uint8 [H′, W′, C].

    As many columns as rows, about, where `columns` is not given.
    """
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full(
        (rows * (h + border) + border, columns * (w + border) + border, c),
        255,
        np.uint8,
    )
    for i, image in enumerate(images):
        top = border + (i // columns) * (h + border)
        left = border + (i % columns) * (w + border)
        sheet[top : top + h, left : left + w] = image
    return sheet


def visible(image: np.ndarray) -> np.ndarray:
    """[H, W, C] with the channels of a PNG: where C is not 1 or 3, the first alone."""
    return image if image.shape[-1] in (1, 3) else image[..., :1]


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes the visible channels of uint8 [H, W, C] as a PNG."""
    tf.io.write_file(os.fspath(path), tf.io.encode_png(visible(image)))


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """[H, W, C] with each pixel a square of `scale`×`scale`."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def write_sheet(path: str, sheet: np.ndarray, **arrays: np.ndarray) -> None:
    """Writes a sheet, uint8 [H, W, C], to path.png, arrays to path.npz.

    The NPZ comes last and in one piece: where it is, all is.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_png(path + ".png", sheet)
    np.savez(path + ".new.npz", **arrays)
    os.replace(path + ".new.npz", path + ".npz")
