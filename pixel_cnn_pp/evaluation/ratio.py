"""The log-likelihood ratio of a model and a background model. Ren et al. 2019."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from pixel_cnn_pp.evaluation import evaluator
from pixel_cnn_pp.images import ImageSet
from pixel_cnn_pp.model import PixelCNNPP


class Background(NamedTuple):
    """A background model, and the images with their labels as it numbers them."""

    model: PixelCNNPP
    images: ImageSet | None


def log_likelihood_ratio(
    bits: np.ndarray, background_bits: np.ndarray, image_shape: tuple[int, int, int]
) -> np.ndarray:
    """log p − log p_background in nats, [n], from the bits/dim by both, [n]."""
    return (background_bits - bits) * (math.prod(image_shape) * math.log(2.0))


def score_with_background(
    model: PixelCNNPP, images: ImageSet, background: Background | None, *settings: Any
) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]]:
    """Bits/dim [n], labels [n] or None, and bits/dim by the background model [n], or
    None without one, of each batch in order. `settings`: those of `evaluator.score`.
    """
    parts = evaluator.score(model, images, *settings)
    if background is None:
        yield from ((bits, labels, None) for bits, labels in parts)
        return
    others = evaluator.score(*background, *settings)
    for (bits, labels), (background_bits, _) in zip(parts, others, strict=True):
        yield bits, labels, background_bits


def check_background(folder: str, model: PixelCNNPP, background: PixelCNNPP) -> None:
    """Raises ValueError where the scores of the two do not compare."""
    value = f"--background_dir={folder}"
    if background.energy_distance:
        raise ValueError(
            f"{value}: a model of the energy distance has no likelihood; give a run "
            "with one."
        )
    kind = "probability" if model.is_exact else "density"
    if background.is_exact != model.is_exact:
        raise ValueError(
            f"{value}: it has --likelihood={background.config.likelihood}, and the "
            f"scores of the other model are of a {kind}; give a run with "
            f"--likelihood={model.config.likelihood}."
        )
    for name in ("image_shape", "num_levels"):
        theirs, ours = (getattr(m.config, name) for m in (background, model))
        if theirs != ours:
            raise ValueError(
                f"{value}: it has {name}={theirs}, and the other model {ours}; give a "
                "run that was trained on the same images with --mutation_rate."
            )
