"""Validation images: a part of the training images that is never trained on."""

import dataclasses

import numpy as np
import tensorflow as tf

from data.source import Source

# Beside the seed, so that no epoch has this permutation.
PURPOSE = (0, 1)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PartSource(Source):
    """Some images of another source, by their indices there: int64 [N], ascending."""

    whole: Source
    indices: np.ndarray = dataclasses.field(repr=False)

    @classmethod
    def of(cls, whole: Source, split: str, indices: np.ndarray) -> "PartSource":
        values = {f.name: getattr(whole, f.name) for f in dataclasses.fields(Source)}
        values |= {"split": split, "num_images": len(indices)}
        return cls(**values, whole=whole, indices=np.sort(indices))

    def names(self):
        names = list(self.whole.names())
        return (names[index] for index in self.indices)

    def read(self, order: np.ndarray) -> tf.data.Dataset:
        return self.whole.read(self.indices[order])


def divide(images: Source, share: float, seed: int) -> tuple[Source, Source]:
    """The images to train on, and a share of them, rounded to whole images, to validate
    on. Which these are follows from the seed and the number of images alone.

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
    held_out, rest = np.split(order, [count])
    return (
        PartSource.of(images, "train", rest),
        PartSource.of(images, "validation", held_out),
    )
