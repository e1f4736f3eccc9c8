"""Refusals of evaluate.py: settings that do not go with the model or the images."""

import math
from collections.abc import Sequence

from pixel_cnn_pp.likelihood import ContinuousMixLogistic
from pixel_cnn_pp.model import PixelCNNPP

MOST_PIXELS = 2**27  # Of a PNG: 400 MB of memory while it is written.


def refuse_unfit(model: PixelCNNPP, images) -> None:
    """Raises ValueError where the images are none that the model takes."""
    if images.image_shape != model.image_shape:
        raise ValueError(
            f"images {images.image_shape}: this model takes {model.image_shape}; give "
            "the images it was trained on, or ones of that size."
        )
    if model.num_labels is not None and images.num_labels > model.num_labels:
        raise ValueError(
            f"images with {images.num_labels} labels: this model knows "
            f"{model.num_labels}; give the images it was trained on, or ones with its "
            "labels."
        )


def refuse_without_likelihood(model: PixelCNNPP) -> None:
    """Raises ValueError where the model has no bits/dim."""
    if model.energy_distance:
        raise ValueError(
            "energy_distance=True: such a model draws images but has no likelihood, so "
            "it has no bits/dim; give --num_samples to draw."
        )


def refuse_draws_of_exact(model: PixelCNNPP, draws: int | None) -> None:
    """Raises ValueError where `draws` are given and the model's figures are exact."""
    if draws is not None and not isinstance(model.objective, ContinuousMixLogistic):
        raise ValueError(
            f"--dequantization_draws={draws}: the figures of this model are exact; "
            "leave the flag out."
        )


def refuse_settings(model: PixelCNNPP, temperature: float, seed: int) -> None:
    """Raises ValueError where nothing can be drawn at this temperature or seed."""
    model.check_temperature(temperature)
    if not 0 <= seed < 2**31:
        raise ValueError(f"--seed={seed}: must be from 0 to 2147483647.")


def refuse_rows(model: PixelCNNPP, rows: int) -> None:
    """Raises ValueError where no row would be left to complete."""
    height = model.image_shape[0]
    if rows >= height:
        raise ValueError(
            f"--complete_rows={rows}: the images have {height} rows, and one at least "
            "must be left to complete; give fewer."
        )


def refuse_labels(model: PixelCNNPP, labels: Sequence[int], num_samples: int) -> None:
    """Raises ValueError where images of these labels cannot be drawn, each once."""
    shown = f"--labels={','.join(map(str, labels))}"
    if model.num_labels is None:
        raise ValueError(f"{shown}: this model knows no labels; leave the flag out.")
    if not all(0 <= label < model.num_labels for label in labels):
        raise ValueError(
            f"{shown}: this model knows the labels 0 to {model.num_labels - 1}; give "
            "some of these."
        )
    if len(labels) > num_samples:
        raise ValueError(
            f"{shown}: --num_samples={num_samples} is fewer than the {len(labels)} "
            f"labels; give --num_samples={len(labels)} or more."
        )


def refuse_large_png(model: PixelCNNPP, cells: int, scale: int) -> None:
    """Raises ValueError where so many cells would make too large a PNG."""
    height, width, _ = model.image_shape
    pixels = cells * (height + 1) * (width + 1)
    if pixels * scale**2 > MOST_PIXELS:
        most = math.isqrt(MOST_PIXELS // pixels)
        remedy = f"--scale={most} or less" if most else "fewer images"
        raise ValueError(
            f"--scale={scale}: a PNG of {cells} images of {height}×{width} would have "
            f"more than {MOST_PIXELS // 10**6} million pixels; give {remedy}."
        )
