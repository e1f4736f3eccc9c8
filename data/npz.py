"""npz: one NumPy file with the images of both splits, and labels where there are any.

Keys: train_images, test_images, uint8 [N, H, W, C] or grey [N, H, W]; train_labels,
test_labels, integers [N] from 0; class_names, text [L], by default '0', '1', …;
num_levels, the number of pixel values, by default 256: with it images may be integers
of any type, for example codes of a VQ-VAE.
Pickled (object) arrays are never read.

Headers are checked before data are read, as `np.load` cannot: an array of another type,
4 GB of zeros in a file of 19 MB, takes it 4 GB of memory, and 8 GB without a header.
"""

import collections
import contextlib
import os
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

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
    printable,
    short_reason,
    warn_if_quantized,
)
from pixel_cnn_pp.config import MAX_CODES
from pixel_cnn_pp.images import pixel_dtype

# Without class_names, a label of at least this and the number of images is damage.
MAX_LABELS = 1000
LISTED = 10  # Labels without images that are listed.
# For others zipfile limits no memory: 7 KB of bzip2 take 1.3 GB.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class NpzFile(contextlib.AbstractContextManager):
    """An open .npz file, whose arrays are checked as they are read."""

    def __init__(self, path: str):
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
        except DAMAGE as error:
            raise self.error("is not a whole .npz file") from error
        names = self.zip.namelist()
        self.keys = [name[:-4] for name in names if name.endswith(".npy")]
        for key, count in collections.Counter(self.keys).items():
            if count > 1:
                self.zip.close()
                raise self.error(f"has {count} arrays {printable(key)}")

    def __exit__(self, *_) -> None:
        self.zip.close()

    def error(self, what: str, remedy: str = "") -> ValueError:
        remedy = remedy or (
            "write it with np.savez(path, train_images=…, test_images=…, "
            "train_labels=…, test_labels=…)"
        )
        return ValueError(f"data_dir={printable(self.path)}: {what}; {remedy}.")

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """A stream of the bytes of an array; damage to them ends in one line."""
        try:
            member = self.zip.getinfo(f"{key}.npy")
            if member.compress_type not in COMPRESSIONS:
                raise ValueError("NumPy compresses in another way")
            with self.zip.open(member) as stream:
                yield stream
        except DAMAGE as error:
            raise self.error(f"{key} cannot be read ({short_reason(error)})") from error

    def read(self, key: str, kind: type, axes: int | None, rule: str) -> np.ndarray:
        """An array. Raises ValueError, with the rule that it breaks, for another kind
        of dtype than `kind` or, where it is given, another number of axes."""
        if key not in self.keys:
            keys = ", ".join(map(printable, self.keys)) or "no arrays"
            raise self.error(f"has no {key} (it has {keys:.200})")
        with self.open(key) as stream:
            shape, dtype = read_header(stream)
        # NumPy counts spans of time among the integers.
        if not np.issubdtype(dtype, kind) or dtype.kind == "m":
            raise self.error(f"{key} is {dtype} where {rule}")
        if axes is not None and len(shape) != axes:
            raise self.error(f"{key} has shape {list(shape)} where {rule}")
        with self.open(key) as stream:
            # Memory of the declared size is reserved, and used only as data are read.
            array = np.lib.format.read_array(stream, allow_pickle=False)
            if stream.read(1) or not array.itemsize:
                raise ValueError("its shape is not that of its data")
        return array

    def images(self, split: str, num_levels: int) -> np.ndarray:
        """The images of a split, [N, H, W, C], of `pixel_dtype`."""
        key = f"{split}_images"
        if "num_levels" in self.keys:
            images = self.read(key, np.integer, None, "images are integers")
        else:
            rule = "images are uint8 in 0 … 255, or integers below a key num_levels"
            images = self.read(key, np.uint8, None, rule)
        self.check_axes(key, images.shape)
        for value in (images.min(), images.max()):
            if not 0 <= value < num_levels:
                raise self.error(
                    f"{key} has the pixel value {value} where num_levels is "
                    f"{num_levels}",
                    f"save values from 0 to {num_levels - 1}",
                )
        if num_levels == 256:
            warn_if_quantized(printable(self.path), int(images.max()))
        images = images.astype(pixel_dtype(num_levels), copy=False)
        return images if images.ndim == 4 else images[..., None]

    def check_axes(self, key: str, shape: tuple[int, ...]) -> None:
        """Raises ValueError where images do not look like [N, H, W, C] or [N, H, W]."""
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

    def labels(self, split: str) -> np.ndarray:
        """Labels of a split, integers [N] from 0."""
        key = f"{split}_labels"
        labels = self.read(key, np.integer, 1, "labels are integers [N]")
        if labels.min(initial=0) < 0:
            raise self.error(f"{key} holds {labels.min()} where labels count from 0")
        return labels

    def class_names(self, labels: dict[str, np.ndarray]) -> tuple[str, ...]:
        """Names of the classes, by default numbers up to the highest label."""
        highest = max(int(array.max(initial=0)) for array in labels.values())
        if "class_names" not in self.keys:
            num_images = sum(map(len, labels.values()))
            if highest >= max(num_images, MAX_LABELS):
                raise self.error(
                    f"label {highest} in a file of {num_images} images",
                    "number the classes from 0 without gaps, or save their names as "
                    "class_names=[…]",
                )
            return tuple(map(str, range(highest + 1)))
        rule = "class_names is text [L]"
        names = self.read("class_names", np.str_, 1, rule)
        names = [class_name(name) for name in names.tolist()]
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
        value = int(self.read("num_levels", np.integer, 0, rule))
        if not 2 <= value <= MAX_CODES:
            raise self.error(f"num_levels is {value}", rule)
        return value

    def warn_of_gaps(self, labels: np.ndarray, num_labels: int) -> None:
        """Warns of classes that no image of a split has."""
        gaps = sorted(set(range(num_labels)) - set(labels.tolist()))
        if gaps:
            listed = ", ".join(map(str, gaps[:LISTED])) + ", …" * (len(gaps) > LISTED)
            logging.warning(
                f"{printable(self.path)}: no training image has label {listed} of "
                f"0 … {num_labels - 1}."
            )


def read_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of an array in NumPy's format."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype


def has_labels(path: str | None, split: str) -> bool:
    """Whether a file holds labels of a split; they are not checked."""
    if path is None or not os.path.isfile(path):
        return False
    with NpzFile(path) as file:
        return f"{split}_labels" in file.keys


def check_path(path: str | None) -> None:
    """Raises where data_dir is not the path of a file."""
    rule = "npz needs the path of one .npz file"
    if path is None:
        raise ValueError("npz needs data_dir; give it, for example images.npz.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"data_dir={printable(path)}: no such file; {rule}.")
    if not os.path.isfile(path):
        flags = other_data_set(path)
        remedy = f"; try {flags}" if flags else ""
        raise ValueError(f"data_dir={printable(path)} is no file; {rule}{remedy}.")


def load(
    path: str | None, split: str, labels: bool, image_size: int | None
) -> ArraySource:
    """The split asked for, in memory; the classes are those of both splits."""
    check_path(path)
    with NpzFile(path) as file:
        num_levels = file.num_levels()
        images = file.images(split, num_levels)
        check_image_size("npz", images.shape[1:], image_size)
        split_labels, class_names = None, None
        if labels:
            splits = {split, *(s for s in SPLITS if f"{s}_labels" in file.keys)}
            all_labels = {s: file.labels(s) for s in splits}
            split_labels, class_names = all_labels[split], file.class_names(all_labels)
            if len(split_labels) != len(images):
                raise file.error(
                    f"{split}_labels has {len(split_labels)} labels for {len(images)} "
                    "images"
                )
            if split == "train":
                file.warn_of_gaps(split_labels, len(class_names))
        if split == "train" and (doubt := find_doubt(images.shape)):
            logging.warning(
                f"{printable(path)}: train_images has shape {list(images.shape)}, "
                f"which could be {doubt}; images are [N, H, W, C]."
            )
    return ArraySource.of("npz", split, images, split_labels, class_names, num_levels)
