"""Data sets behind one door: load(name, …) checks everything and returns a Source."""

import os

from data import cifar, folder, imagenet, npz, shapes
from data.source import SPLITS, Source

__all__ = ["NAMES", "SPLITS", "Source", "has_labels", "load"]

NAMES = (
    "shapes",
    "npz",
    "folder",
    "cifar",
    "cifar10",
    "imagenet",
    "imagenet32",
    "imagenet64",
)


def load(
    name: str,
    data_dir: str | None,
    split: str,
    *,
    labels: bool = False,
    image_size: int | None = None,
    skip_bad_images: bool = False,
) -> Source:
    """The split 'train' or 'test' of a data set, checked and ready to stream.

    data_dir is the .npz file of npz; the folder with train/ and test/ of folder; the
    folder of the original CIFAR-10 archive or of tensorflow_datasets for cifar; that of
    tensorflow_datasets for imagenet; shapes needs none. image_size is for shapes and
    folder. skip_bad_images is for folder: files that cannot be read as images are left
    out and reported. Raises ValueError or OSError, in one line, for whatever is not
    right; no code in a file is run.
    """
    if name not in NAMES:
        raise ValueError(f"data set {name!r} is not known; use {', '.join(NAMES)}.")
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not known; use {' or '.join(SPLITS)}.")
    if image_size is not None and image_size < 1:
        raise ValueError(
            f"image_size={image_size}: sizes are in pixels; use 1 or more."
        )
    if skip_bad_images and name != "folder":
        raise ValueError(
            f"--skip_bad_images: {name} has no image files of their own; leave it out "
            "(it is for folder)."
        )
    data_dir = os.path.expanduser(data_dir) if data_dir else None

    if name == "shapes":
        return shapes.load(name, split, labels, image_size)
    if name == "npz":
        return npz.load(name, data_dir, split, labels, image_size)
    if name == "folder":
        return folder.load(name, data_dir, split, labels, image_size, skip_bad_images)
    if name in ("cifar", "cifar10"):
        return cifar.load(name, data_dir, split, labels, image_size)
    return imagenet.load(name, data_dir, split, labels, image_size)


def has_labels(name: str, data_dir: str | None, split: str) -> bool:
    """Whether `load` would find labels; where nothing is found, it says what is wrong.

    Arguments as those of `load`.
    """
    data_dir = os.path.expanduser(data_dir) if data_dir else None
    if name == "npz":
        return npz.has_labels(data_dir, split)
    if name == "folder":
        return folder.has_labels(data_dir, split)
    return name in ("shapes", "cifar", "cifar10")
