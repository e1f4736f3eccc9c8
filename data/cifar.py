"""cifar: CIFAR-10, from its original files where they are there, else from TFDS.

The original archives and folders are read as they are: nothing is downloaded, nothing
is unpacked to disk, whatever the paths in the archive say, and no pickled code is run.
"""

import gzip
import os
import posixpath
import struct
import tarfile
import zlib
from typing import BinaryIO

import numpy as np

from data import safe_pickle, tfds_builder
from data.arrays import ArraySource
from data.source import check_image_size

IMAGE_SHAPE = (32, 32, 3)
NUM_LABELS = 10
PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
ARCHIVES = {PYTHON: "cifar-10-python.tar.gz", BINARY: "cifar-10-binary.tar.gz"}
BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
SUFFIX = {PYTHON: "", BINARY: ".bin"}
SUBFOLDER = "cifar-10-python"  # Where the official code keeps the archive.
PIXELS = 3072  # Three planes of 32×32: red, green, blue.
# Bytes, beyond which no more is read: four times the originals, and three times.
MAX_BATCH = 1 << 27
MAX_ARCHIVE = 1 << 29

# What damaged archives make gzip and tarfile raise.
DAMAGE = (
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    OverflowError,
)


def find_original(data_dir: str) -> tuple[str, str] | None:
    """Path of the original folder or archive, and which version it is; None if none."""
    for version in (PYTHON, BINARY):
        if os.path.exists(os.path.join(data_dir, BATCHES["test"][0] + SUFFIX[version])):
            return data_dir, version
    for place in (data_dir, os.path.join(data_dir, SUBFOLDER)):
        for version in (PYTHON, BINARY):
            for name in (version, ARCHIVES[version]):
                path = os.path.join(place, name)
                if os.path.exists(path):
                    return path, version
    return None


class Bounded:
    """A stream that ends with an error where it gives more than MAX_ARCHIVE bytes."""

    def __init__(self, stream: BinaryIO):
        self.stream = stream
        self.left = MAX_ARCHIVE

    def read(self, size: int) -> bytes:
        contents = self.stream.read(size)
        self.left -= len(contents)
        if self.left < 0:
            raise ValueError(f"it holds more than {MAX_ARCHIVE} bytes")
        return contents


def read_archive(path: str, names: list[str]) -> dict[str, bytes]:
    """Contents of the named members of a .tar.gz, in one pass."""
    contents = {}
    with gzip.open(path) as stream:
        stream = Bounded(stream)
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = posixpath.normpath(member.name)
                    # A sparse file can be larger than all that is in the archive.
                    if name in names and member.isreg() and not member.issparse():
                        contents[name] = archive.extractfile(member).read()
            while stream.read(1 << 20):  # The checksum stands at the end.
                pass
        except DAMAGE as error:
            raise ValueError(
                f"{path} is damaged or no .tar.gz archive; get the original again."
            ) from error
    return contents


def read_files(path: str, version: str, split: str) -> list[tuple[str, bytes]]:
    """Name for errors and contents of each batch of a split, in order."""
    names = [batch + SUFFIX[version] for batch in BATCHES[split]]
    if os.path.isdir(path):
        files = [os.path.join(path, name) for name in names]
        missing = [file for file in files if not os.path.isfile(file)]
        if missing:
            raise FileNotFoundError(
                f"{missing[0]} is missing; {split} needs {', '.join(names)} there."
            )
        return [(file, read_file(file)) for file in files]
    if not os.path.isfile(path):
        raise ValueError(f"{path} is neither a file nor a folder; get the original.")
    names = [f"{version}/{name}" for name in names]
    contents = read_archive(path, names)
    missing = [name for name in names if name not in contents]
    if missing:
        raise ValueError(f"{path} has no {missing[0]}; get the original archive again.")
    return [(f"{path}, {name}", contents[name]) for name in names]


def read_file(path: str) -> bytes:
    size = os.path.getsize(path)
    if size > MAX_BATCH:
        raise ValueError(
            f"{path} has {size} bytes, a batch at most {MAX_BATCH}; get the original "
            "file again."
        )
    with open(path, "rb") as file:
        return file.read(MAX_BATCH)


def parse_binary(source: str, contents: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 3072] and labels [N] of a batch of the binary version."""
    record = 1 + PIXELS
    if not contents or len(contents) % record:
        raise ValueError(
            f"{source} has {len(contents)} bytes where a batch has records of "
            f"{record}; get the original file again."
        )
    records = np.frombuffer(contents, np.uint8).reshape(-1, record)
    return records[:, 1:], records[:, 0]


def parse_python(source: str, contents: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 3072] and labels [N] of a batch of the python version."""
    batch = safe_pickle.loads(contents, source)
    if not isinstance(batch, dict):
        batch = {}
    data = safe_pickle.uint8_array(batch.get("data", batch.get(b"data")))
    labels = batch.get("labels", batch.get(b"labels"))
    if data is None or data.ndim != 2 or data.shape[1] != PIXELS or not len(data):
        raise ValueError(
            f"{source}: 'data' is not uint8 [N, {PIXELS}]; get the original file again."
        )
    if not (
        isinstance(labels, list)
        and len(labels) == len(data)
        and all(type(label) is int and 0 <= label < NUM_LABELS for label in labels)
    ):
        raise ValueError(
            f"{source}: 'labels' is not a list of {len(data)} numbers from 0 to "
            f"{NUM_LABELS - 1}; get the original file again."
        )
    return data, np.array(labels)


PARSE = {PYTHON: parse_python, BINARY: parse_binary}


def read_original(path: str, version: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels [N] of the original files."""
    pixels, labels = [], []
    for source, contents in read_files(path, version, split):
        batch_pixels, batch_labels = PARSE[version](source, contents)
        if batch_labels.max() >= NUM_LABELS:
            raise ValueError(
                f"{source} has label {batch_labels.max()} where labels are 0 … "
                f"{NUM_LABELS - 1}; get the original file again."
            )
        pixels.append(batch_pixels)
        labels.append(batch_labels)
    planes = np.concatenate(pixels).reshape(-1, 3, 32, 32)  # [N, C, H, W]
    return planes.transpose(0, 2, 3, 1).copy(), np.concatenate(labels)  # [N, H, W, C]


def read_tfds(data_dir: str | None, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels [N] from tensorflow_datasets."""
    builder = tfds_builder.prepare(
        "cifar10", data_dir, f"put {ARCHIVES[PYTHON]} into data_dir."
    )
    batches = list(builder.as_dataset(split=split).batch(1000).as_numpy_iterator())
    images = np.concatenate([batch["image"] for batch in batches])  # [N, H, W, C]
    labels = np.concatenate([batch["label"] for batch in batches])  # [N]
    return images, labels


def load(
    name: str, data_dir: str | None, split: str, labels: bool, image_size: int | None
) -> ArraySource:
    """The split asked for, in memory."""
    check_image_size(name, IMAGE_SHAPE, image_size)
    if data_dir is not None and os.path.isfile(data_dir):
        raise NotADirectoryError(
            f"data_dir={data_dir} is a file; give the folder that it lies in."
        )
    original = find_original(data_dir) if data_dir is not None else None
    if original is None:
        images, all_labels = read_tfds(data_dir, split)
    else:
        images, all_labels = read_original(*original, split)
    return ArraySource.of(
        name,
        split,
        images,
        all_labels if labels else None,
        NUM_LABELS if labels else None,
    )
