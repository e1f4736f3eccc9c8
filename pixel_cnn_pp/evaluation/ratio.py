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
) -> Iterator[dict[str, np.ndarray]]:
    """The scores of each batch in order: bits, the bits/dim [n]; labels [n], where the
    images have any; background, the bits/dim by the background model [n], where there
    is one. `settings`: those of `evaluator.score`."""
    if background is not None:
        others = evaluator.score(*background, *settings)
    for bits, labels in evaluator.score(model, images, *settings):
        part = {"bits": bits}
        if labels is not None:
            part["labels"] = labels
        if background is not None:
            part["background"], _ = next(others)
        yield part


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
