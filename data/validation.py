"""Validation images: a part of the training images that is never trained on."""

import dataclasses

import numpy as np

from data.source import Source

# Follows the seed, so that this is the permutation of no epoch.
PURPOSE = (0, 1)


def divide(images: Source, share: float, seed: int) -> tuple[Source, Source]:
    """The images to train on, and those to validate on, which are about this share.
    Which these are depends on the seed and the number of images alone.

    Raises ValueError where the share leaves no image for one of the two.
    """
    n = images.num_images
    count = round(share * n)
    if not 0 < count < n:
        kind = "validation" if count < 1 else "training"
        remedy = f"give from {1 / n:.2g} to {1 - 1 / n:.2g}" if n > 1 else "give more"
        raise ValueError(
            f"--validation_share={share}: of {n} training images it leaves none for "
            f"{kind}; {remedy}."
        )
    order = np.random.default_rng([seed, *PURPOSE]).permutation(n)
    train, validation = (
        dataclasses.replace(images, indices=images.indices[np.sort(part)])
        for part in (order[count:], order[:count])
    )
    return train, validation
