"""npz: one NumPy file with the images of both splits, and labels where there are any.

Keys: train_images, test_images, uint8 [N, H, W, C] or grey [N, H, W]; train_labels,
test_labels, integers [N] from 0; class_names, text [L], by default '0', '1', …;
num_levels, the number of pixel values, by default 256: with it images may be integers
of any type, for example codes of a VQ-VAE.
Pickled (object) arrays are never read.
"""

import math
import os
import zipfile
from collections import Counter

import numpy as np
from absl import logging

from data.arrays import ArraySource
from data.axes import find_doubt, find_other_axes
from data.layout import other_data_set
from data.source import (
    DAMAGE,
    SPLITS,
    check_image_size,
    class_name,
    shown,
    warn_if_quantized,
)

# A label beyond these and beyond the number of images is taken for damage.
MAX_LABELS = 1000
MAX_CODES = 4096
LISTED = 10  # Labels without images that are listed.


class NpzFile:
    """An open .npz file, its arrays checked by their headers before any is read."""

    def __init__(self, path: str):
        self.path = path
        try:
            if not zipfile.is_zipfile(path):
                raise ValueError("not a zip file, perhaps one array as .npy")
            self.file = np.load(path, allow_pickle=False)
        except DAMAGE as error:
            raise self.error("is not a whole .npz file") from error
        self.keys = self.file.files
        for name, times in Counter(self.file.zip.namelist()).items():
            if times > 1:
                self.file.close()
                raise self.error(f"has {shown(name)} {times} times")

    def __enter__(self) -> "NpzFile":
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def error(self, what: str, remedy: str = "") -> ValueError:
        remedy = remedy or (
            "write it with np.savez(path, train_images=…, test_images=…, "
            "train_labels=…, test_labels=…)"
        )
        return ValueError(f"data_dir={shown(self.path)}: {what}; {remedy}.")

    def shape(self, key: str, kind: type, rule: str) -> tuple[int, ...]:
        """Shape of an array of a kind of dtype, which is as long as its shape says.

        An array is allocated before it is read, so a false shape would take memory.
        """
        if key not in self.keys:
            keys = ", ".join(map(shown, self.keys)) or "no arrays"
            raise self.error(f"has no {key} (it has {keys:.200})")
        try:
            member = self.file.zip.getinfo(f"{key}.npy")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("NumPy compresses in another way")
            with self.file.zip.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read_header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read_header(stream)
                length = member.file_size - stream.tell()
        except DAMAGE as error:
            raise self.error(f"{key} is damaged or not an array") from error
        # NumPy counts spans of time among the integers.
        if not np.issubdtype(dtype, kind) or dtype.kind == "m":
            raise self.error(f"{key} is {dtype} where {rule}")
        is_shape = all(type(n) is int and n >= 0 for n in shape)
        if not is_shape or math.prod(shape) * dtype.itemsize != length:
            raise self.error(f"{key} is damaged, its shape is not that of its data")
        return shape

    def read(self, key: str) -> np.ndarray:
        try:
            return self.file[f"{key}.npy"]
        except MemoryError as error:
            raise self.error(f"{key} does not fit into the memory") from error
        except DAMAGE as error:
            raise self.error(f"{key} is damaged") from error

    def image_shape(self, split: str) -> tuple[int, tuple[int, int, int]]:
        """Number and [H, W, C] of the images of a split, checked but not read."""
        key = f"{split}_images"
        if "num_levels" in self.keys:
            shape = self.shape(key, np.integer, "images are integers")
        else:
            rule = "images are uint8 in 0 … 255, or integers below a key num_levels"
            shape = self.shape(key, np.uint8, rule)
        if len(shape) not in (3, 4):
            raise self.error(
                f"{key} has shape {list(shape)} where images are [N, H, W, C], "
                "or [N, H, W] if grey"
            )
        if 0 in shape:
            raise self.error(f"{key} has shape {list(shape)}: it holds no images")
        other = find_other_axes(shape)
        if other:
            axes, remedy = other
            grey = " or, if they are grey, images[..., None]" if len(shape) == 3 else ""
            raise self.error(
                f"{key} has shape {list(shape)}, which looks like {axes} where images "
                "are [N, H, W, C]",
                f"save {remedy}{grey}",
            )
        return shape[0], (*shape[1:], 1)[:3]

    def labels(self, split: str) -> np.ndarray:
        """Labels of a split, integers [N] from 0."""
        key = f"{split}_labels"
        shape = self.shape(key, np.integer, "labels are integers")
        if len(shape) != 1:
            raise self.error(f"{key} has shape {list(shape)} where labels are [N]")
        if f"{split}_images" in self.keys:
            num_images, _ = self.image_shape(split)
            if shape[0] != num_images:
                raise self.error(f"{key} has {shape[0]} labels for {num_images} images")
        labels = self.read(key)
        if labels.min(initial=0) < 0:
            raise self.error(f"{key} holds {labels.min()} where labels count from 0")
        return labels

    def class_names(self, labels: dict[str, np.ndarray]) -> tuple[str, ...]:
        """Names of the classes of the labels of the splits, by default the numbers."""
        highest = max(int(array.max(initial=0)) for array in labels.values())
        if "class_names" in self.keys:
            return self.read_class_names(highest)
        num_images = sum(map(len, labels.values()))
        if highest >= max(num_images, MAX_LABELS):
            raise self.error(
                f"label {highest} in a file of {num_images} images",
                "number the classes from 0 without gaps, or save their names as "
                "class_names=[…]",
            )
        return tuple(map(str, range(highest + 1)))

    def read_class_names(self, highest: int) -> tuple[str, ...]:
        """The array class_names, in the Unicode form NFC."""
        rule = "class_names is text [L]"
        shape = self.shape("class_names", np.str_, rule)
        if len(shape) != 1:
            raise self.error(f"class_names has shape {list(shape)} where {rule}")
        names = [class_name(name) for name in self.read("class_names").tolist()]
        if len(set(names)) != len(names) or highest >= len(names):
            raise self.error(
                f"class_names has {len(set(names))} different names where the highest "
                f"label is {highest}",
                "save one name for each label from 0 on",
            )
        return tuple(names)

    def num_levels(self) -> int:
        """The number of pixel values that the file says it has."""
        if "num_levels" not in self.keys:
            return 256
        rule = f"num_levels is one integer from 2 to {MAX_CODES}"
        shape = self.shape("num_levels", np.integer, rule)
        value = int(self.read("num_levels")) if shape == () else 0
        if not 2 <= value <= MAX_CODES:
            raise self.error(
                f"num_levels has shape {list(shape)} or value {value}", rule
            )
        return value

    def read_images(self, split: str, num_levels: int) -> np.ndarray:
        """The images of a split, [N, H, W, C] from 0 to num_levels − 1: uint8, or int32
        for more than 256 pixel values."""
        images = self.read(f"{split}_images")
        for value in (images.min(), images.max()):
            if not 0 <= value < num_levels:
                raise self.error(
                    f"{split}_images has the pixel value {value} where num_levels is "
                    f"{num_levels}",
                    f"save values from 0 to {num_levels - 1}",
                )
        images = images.astype(np.uint8 if num_levels <= 256 else np.int32, copy=False)
        if num_levels == 256:
            warn_if_quantized(shown(self.path), int(images.max()))
        return images.reshape(len(images), *self.image_shape(split)[1])

    def warn_of_gaps(self, labels: np.ndarray, num_labels: int) -> None:
        """Warns of classes that no image of a split has."""
        gaps = sorted(set(range(num_labels)) - set(labels.tolist()))
        if gaps:
            listed = ", ".join(map(str, gaps[:LISTED])) + ", …" * (len(gaps) > LISTED)
            logging.warning(
                "%s: no training image has label %s of 0 … %d.",
                shown(self.path),
                listed,
                num_labels - 1,
            )


def has_labels(path: str | None, split: str) -> bool:
    """Whether a file holds labels of a split, good ones or not."""
    if path is None or not os.path.isfile(path):
        return False
    with NpzFile(path) as file:
        return f"{split}_labels" in file.keys


def check_path(name: str, path: str | None) -> None:
    """Raises where data_dir is not the path of a file."""
    rule = f"{name} needs the path of one .npz file"
    if path is None:
        raise ValueError(f"{name} needs data_dir; give it, for example images.npz.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"data_dir={shown(path)}: no such file; {rule}.")
    if not os.path.isfile(path):
        flags = other_data_set(path)
        remedy = f"; try {flags}" if flags else ""
        raise ValueError(f"data_dir={shown(path)} is no file; {rule}{remedy}.")


def load(
    name: str, path: str | None, split: str, labels: bool, image_size: int | None
) -> ArraySource:
    """The split asked for, in memory; of the other, shapes and labels are checked."""
    check_path(name, path)
    with NpzFile(path) as file:
        _, image_shape = file.image_shape(split)
        for other in SPLITS:
            if f"{other}_images" in file.keys:
                _, other_shape = file.image_shape(other)
                if other_shape != image_shape:
                    raise file.error(
                        f"{split}_images are {list(image_shape)} but {other}_images "
                        f"are {list(other_shape)} where [H, W, C] is one"
                    )
        check_image_size(name, image_shape, image_size)
        split_labels, class_names = None, None
        if labels:
            splits = {split, *(s for s in SPLITS if f"{s}_labels" in file.keys)}
            all_labels = {s: file.labels(s) for s in splits}
            split_labels, class_names = all_labels[split], file.class_names(all_labels)
            if split == "train":
                file.warn_of_gaps(split_labels, len(class_names))
        num_levels = file.num_levels()
        images = file.read_images(split, num_levels)
        if (doubt := find_doubt(images.shape)) and split == "train":
            logging.warning(
                "%s: train_images has shape %s, which could be %s; images are "
                "[N, H, W, C].",
                shown(path),
                list(images.shape),
                doubt,
            )
    return ArraySource.of(name, split, images, split_labels, class_names, num_levels)
