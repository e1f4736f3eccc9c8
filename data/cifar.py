"""cifar: CIFAR-10, from its original files where they exist, else from TFDS.

The original archives and folders are read in place: nothing is downloaded, nothing is
unpacked to disk, and no pickled code is run.
"""

import hashlib
import os
import tarfile

import numpy as np

from data import cifar_pickle, tfds_images
from data.arrays import ArraySource
from data.source import DAMAGE, Source, check_image_size, short_reason

IMAGE_SHAPE = (32, 32, 3)
CLASS_NAMES = tuple(
    "airplane automobile bird cat deer dog frog horse ship truck".split()
)
NUM_LABELS = len(CLASS_NAMES)
PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
ARCHIVES = {PYTHON: "cifar-10-python.tar.gz", BINARY: "cifar-10-binary.tar.gz"}
# As published at https://www.cs.toronto.edu/~kriz/cifar.html.
MD5 = {
    PYTHON: "c58f30108f718f92721af3b95e74349a",
    BINARY: "c32a1d4ab5d03f1284b67883e8d87530",
}
BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
SUFFIX = {PYTHON: "", BINARY: ".bin"}
SUBFOLDER = "cifar-10-python"  # Where the official code keeps the archive.
PIXELS = 3072  # Three planes of 32×32: red, green, blue.
MAX_BATCH = 1 << 27  # Bytes; four times an original batch.


def find_original(data_dir: str) -> tuple[str, str] | None:
    """Path of the original folder or archive, and its version, PYTHON or BINARY."""
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


def read_archive(path: str, version: str, names: list[str]) -> dict[str, bytes]:
    """Contents of the named members of an original archive."""
    with open(path, "rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != MD5[version]:
        raise ValueError(
            f"{path} has the md5 {md5} where the published archive has {MD5[version]}; "
            "download it again, or unpack it if you changed it on purpose."
        )
    with tarfile.open(path) as archive:
        # In one pass: going back would decompress it again.
        return {
            member.name: archive.extractfile(member).read()
            for member in archive
            if member.name in names
        }


def read_batch(path: str) -> bytes:
    """Contents of the file of a batch."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} is missing; get the original folder again.")
    size = os.path.getsize(path)
    if size > MAX_BATCH:
        raise ValueError(
            f"{path} has {size} bytes, a batch at most {MAX_BATCH}; get the original "
            "file again."
        )
    with open(path, "rb") as file:
        return file.read()


def read_batches(path: str, version: str, split: str) -> dict[str, bytes]:
    """Contents of the batches of a split, in order, by the name to use in errors."""
    names = [batch + SUFFIX[version] for batch in BATCHES[split]]
    if os.path.isfile(path):
        members = [f"{version}/{name}" for name in names]
        contents = read_archive(path, version, members)
        return {f"{path}, {member}": contents[member] for member in members}
    if not os.path.isdir(path):
        raise ValueError(f"{path} is neither a file nor a folder; get the original.")
    return {file: read_batch(file) for file in (os.path.join(path, n) for n in names)}


def parse_binary(contents: bytes) -> tuple[np.ndarray, list[int]]:
    """Pixels [N, 3072] and labels [N] of a batch of the binary version."""
    records = np.frombuffer(contents, np.uint8).reshape(-1, 1 + PIXELS)
    return records[:, 1:], records[:, 0].tolist()


def parse_python(contents: bytes) -> tuple[np.ndarray, list[int]]:
    """Pixels [N, 3072] and labels [N] of a batch of the python version."""
    batch = cifar_pickle.load_batch(contents)
    data, labels = (batch.get(k, batch.get(k.encode())) for k in ("data", "labels"))
    return cifar_pickle.uint8_array(data), labels


PARSE = {PYTHON: parse_python, BINARY: parse_binary}


def check_contents(pixels: np.ndarray, labels: list[int]) -> None:
    """Raises ValueError where a batch does not hold N images and N labels."""
    if pixels.ndim != 2 or pixels.shape[1] != PIXELS or not len(pixels):
        raise ValueError(f"its images are {list(pixels.shape)}, not [N, {PIXELS}]")
    if not (
        isinstance(labels, list)
        and len(labels) == len(pixels)
        and all(type(label) is int and 0 <= label < NUM_LABELS for label in labels)
    ):
        raise ValueError(
            f"its labels are not {len(pixels)} numbers from 0 to {NUM_LABELS - 1}"
        )


def read_original(path: str, version: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels [N] of the original files."""
    pixels, labels = [], []
    for source, contents in read_batches(path, version, split).items():
        try:
            batch_pixels, batch_labels = PARSE[version](contents)
            check_contents(batch_pixels, batch_labels)
        except DAMAGE as error:
            raise ValueError(
                f"{source} is not a batch of CIFAR-10 ({short_reason(error)}); get the "
                "original file again."
            ) from error
        pixels.append(batch_pixels)
        labels += batch_labels
    planes = np.concatenate(pixels).reshape(-1, 3, 32, 32)  # [N, C, H, W]
    return planes.transpose(0, 2, 3, 1).copy(), np.array(labels)  # [N, H, W, C]


def load(
    name: str, data_dir: str | None, split: str, labels: bool, image_size: int | None
) -> Source:
    """A split, in memory, or streamed from tensorflow_datasets."""
    check_image_size(name, IMAGE_SHAPE, image_size)
    original = find_original(data_dir) if data_dir is not None else None
    if original is None:
        remedy = f"put {ARCHIVES[PYTHON]} into data_dir."
        tfds_set = tfds_images.TfdsSet(name, "cifar10", remedy=remedy)
        return tfds_images.load(tfds_set, data_dir, split, labels, image_size)
    images, all_labels = read_original(*original, split)
    if labels:
        return ArraySource.of(name, split, images, all_labels, CLASS_NAMES)
    return ArraySource.of(name, split, images)
