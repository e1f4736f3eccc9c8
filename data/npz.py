"""npz: one NumPy file with the images of both splits, and labels where there are any.

Keys: train_images, test_images, uint8 [N, H, W, C] or grey [N, H, W]; train_labels,
test_labels, integers [N] from 0. Pickled (object) arrays are never read.
"""

import math
import os
import struct
import tokenize
import zipfile
import zlib

import numpy as np

from data.arrays import ArraySource
from data.source import SPLITS, check_image_size, shown

# What damaged files make zipfile and NumPy raise: NumPy parses headers as Python.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    EOFError,
    RuntimeError,
    MemoryError,
    OSError,
)


class NpzFile:
    """An open .npz file, its arrays checked by their headers before any is read."""

    def __init__(self, path: str):
        self.path = path
        self.file = open(path, "rb")  # Closed by __exit__, as a file is.
        try:
            self.zip = zipfile.ZipFile(self.file)
        except DAMAGE as error:
            self.file.close()
            raise self.error("is not a whole .npz file") from error
        names = self.zip.namelist()
        self.keys = [name[:-4] for name in names if name.endswith(".npy")]

    def __enter__(self) -> "NpzFile":
        return self

    def __exit__(self, *_) -> None:
        self.zip.close()
        self.file.close()

    def error(self, what: str) -> ValueError:
        return ValueError(
            f"data_dir={self.path}: {what}; write it with np.savez(path, "
            "train_images=…, test_images=…, train_labels=…, test_labels=…)."
        )

    def has(self, key: str) -> bool:
        return key in self.keys

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of an array that is not read and, by them, as long as it is.

        An array is made before it is read, so that a false length would take memory.
        """
        if not self.has(key):
            found = ", ".join(map(shown, self.keys)) or "no arrays"
            raise self.error(f"has no {key} (it has {found:.200})")
        member = self.zip.getinfo(f"{key}.npy")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.error(f"{key} is compressed in another way than NumPy's")
        try:
            with self.zip.open(member) as file:
                version = np.lib.format.read_magic(file)
                if version == (1, 0):
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
                length = member.file_size - file.tell()
        except DAMAGE as error:
            raise self.error(f"{key} is damaged or not an array") from error
        is_shape = all(type(n) is int and n >= 0 for n in shape)
        if not dtype.hasobject:
            if not is_shape or math.prod(shape) * dtype.itemsize != length:
                raise self.error(f"{key} is damaged, its shape is not that of its data")
        return shape, dtype

    def read(self, key: str) -> np.ndarray:
        try:
            with self.zip.open(f"{key}.npy") as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
                file.read(1)  # The checksum is looked at where the end is reached.
        except MemoryError as error:
            raise self.error(f"{key} does not fit into the memory") from error
        except DAMAGE as error:
            raise self.error(f"{key} is damaged") from error
        return array

    def image_shape(self, split: str) -> tuple[int, tuple[int, int, int]]:
        """Number and [H, W, C] of the images of a split, checked but not read."""
        key = f"{split}_images"
        shape, dtype = self.header(key)
        if dtype != np.uint8:
            raise self.error(f"{key} is {dtype} where images are uint8 in 0 … 255")
        if len(shape) not in (3, 4):
            raise self.error(
                f"{key} has shape {list(shape)} where images are [N, H, W, C], "
                "or [N, H, W] if grey"
            )
        if 0 in shape:
            raise self.error(f"{key} has shape {list(shape)}: it holds no images")
        return shape[0], (*shape[1:], 1)[:3]

    def labels(self, split: str) -> np.ndarray:
        """Labels of a split, integers [N], checked."""
        key = f"{split}_labels"
        shape, dtype = self.header(key)
        if not np.issubdtype(dtype, np.integer):
            raise self.error(f"{key} is {dtype} where labels are integers")
        if len(shape) != 1:
            raise self.error(f"{key} has shape {list(shape)} where labels are [N]")
        if self.has(f"{split}_images"):
            num_images, _ = self.image_shape(split)
            if shape[0] != num_images:
                raise self.error(f"{key} has {shape[0]} labels for {num_images} images")
        labels = self.read(key)
        for label in (labels.min(initial=0), labels.max(initial=0)):
            if not 0 <= label < np.iinfo(np.int32).max:
                raise self.error(f"{key} holds {label} where labels count from 0")
        return labels


def has_labels(path: str | None, split: str) -> bool:
    """Whether a file holds labels of a split, good ones or not."""
    if path is None or not os.path.isfile(path):
        return False
    with NpzFile(path) as file:
        return file.has(f"{split}_labels")


def load(
    name: str, path: str | None, split: str, labels: bool, image_size: int | None
) -> ArraySource:
    """The split asked for, in memory; of the other, only what it must agree with."""
    if path is None:
        raise ValueError(f"{name} needs data_dir, the path of one .npz file; give it.")
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"data_dir={path}: no such file; {name} needs the path of one .npz file."
        )
    if not os.path.isfile(path):
        raise ValueError(
            f"data_dir={path} is no file; {name} needs the path of one .npz file."
        )
    with NpzFile(path) as file:
        _, image_shape = file.image_shape(split)
        for other in SPLITS:
            if file.has(f"{other}_images"):
                _, other_shape = file.image_shape(other)
                if other_shape != image_shape:
                    raise file.error(
                        f"{split}_images are {list(image_shape)} but {other}_images "
                        f"are {list(other_shape)} where [H, W, C] is one"
                    )
        check_image_size(name, image_shape, image_size)
        split_labels, num_labels = None, None
        if labels:
            split_labels = file.labels(split)
            others = [file.labels(s) for s in SPLITS if file.has(f"{s}_labels")]
            num_labels = 1 + max(int(other.max(initial=0)) for other in others)
        images = file.read(f"{split}_images").reshape(-1, *image_shape)  # [N, H, W, C]
    return ArraySource.of(name, split, images, split_labels, num_labels)
