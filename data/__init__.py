"""Data sets behind one door: load(name, …) checks everything and returns a Source."""

from data import cifar, folder, imagenet, npz, shapes, tfds_images
from data.image_split import are_images_of
from data.layout import local_path
from data.source import SPLITS, ReadError, Source
from data.validation import divide
from pixel_cnn_pp.checks import check_integer

__all__ = [
    "MAX_IMAGE_SIZE",
    "NAMES",
    "SPLITS",
    "ReadError",
    "Source",
    "are_images_of",
    "check_name",
    "divide",
    "has_labels",
    "is_of_tfds",
    "is_resized",
    "load",
    "main_name",
]

TFDS_NAMES = ("mnist", "fashion_mnist", "svhn_cropped", "cifar100")
NAMES = (
    "shapes",
    "npz",
    "folder",
    "cifar",
    "cifar10",
    "imagenet",
    "imagenet32",
    "imagenet64",
    *TFDS_NAMES,
)
MAX_IMAGE_SIZE = 8192


def is_of_tfds(name: str) -> bool:
    """Whether tensorflow_datasets has a data set under its own name."""
    return name in TFDS_NAMES or name.startswith(tfds_images.PREFIX)


def main_name(name: str) -> str:
    """One name for a data set that has several: cifar for cifar10."""
    name = name.removeprefix(tfds_images.PREFIX) if is_of_tfds(name) else name
    return {"cifar10": "cifar", "imagenet32": "imagenet"}.get(name, name)


def is_resized(name: str) -> bool:
    """Whether a data set takes an image_size."""
    return name in ("shapes", "folder") or is_of_tfds(name)


def check_name(name: str) -> None:
    """Raises ValueError for a name that no data set can have."""
    if name not in NAMES and not is_of_tfds(name):
        raise ValueError(
            f"data set {name!r} is not known; use {', '.join(NAMES)}, or tfds:NAME for "
            "any image data set of tensorflow_datasets."
        )


def not_taken(setting: str, name: str, takers: str) -> ValueError:
    """The error for a setting that only other data sets take."""
    return ValueError(
        f"--{setting}: {name} does not take it, only {takers}; remove it."
    )


def check_settings(
    name: str,
    image_size: int | None,
    skip_bad_images: bool,
    test_share: float | None,
    tfds_split_test: str | None,
) -> None:
    """Raises ValueError for a setting, or a value of it, that the set does not take."""
    if image_size is not None:
        check_integer("image_size", image_size, 1, MAX_IMAGE_SIZE)
    if skip_bad_images and name != "folder":
        raise not_taken("skip_bad_images", name, "folder")
    if test_share is not None and name != "folder":
        raise not_taken(f"test_share={test_share}", name, "folder")
    if tfds_split_test is not None and not is_of_tfds(name):
        takers = "data sets of tensorflow_datasets by their name"
        raise not_taken(f"tfds_split_test={tfds_split_test}", name, takers)
    if test_share is not None and not 0 < test_share < 1:
        raise ValueError(
            f"--test_share={test_share}: must be between 0 and 1, for example 0.1."
        )


def load(
    name: str,
    data_dir: str | None,
    split: str,
    *,
    labels: bool = False,
    image_size: int | None = None,
    skip_bad_images: bool = False,
    test_share: float | None = None,
    tfds_split_test: str | None = None,
) -> Source:
    """The split 'train' or 'test' of a data set, checked and ready to stream.

    data_dir is for
    - npz: the .npz file;
    - folder: the folder with train/ and test/, or a folder of images;
    - cifar: the folder of the original archive, or that of tensorflow_datasets;
    - imagenet, tfds:NAME and TFDS_NAMES: the folder of tensorflow_datasets;
    - shapes: not needed.

    image_size is for shapes, and for folder, tfds:NAME and TFDS_NAMES, whose images it
    crops to a square and resizes. tfds_split_test is for the latter two: the split to
    test on, by default 'test'; what it takes of train is not in train. skip_bad_images
    is for folder: files that cannot be read as images are skipped and reported.
    test_share is for a folder of images without train/ and test/: about this share of
    them is the split test, the rest train; without it all are test, and there is no
    train.

    Raises ValueError or OSError, in one line, for whatever is not right; no code in a
    file is run. A file that can no longer be read later ends the streaming, see
    ReadError.
    """
    check_name(name)
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not known; use {' or '.join(SPLITS)}.")
    check_settings(name, image_size, skip_bad_images, test_share, tfds_split_test)
    data_dir = local_path(data_dir)

    if name == "shapes":
        return shapes.load(split, labels, image_size)
    if name == "npz":
        return npz.load(data_dir, split, labels, image_size)
    if name == "folder":
        return folder.load(
            data_dir, split, labels, image_size, skip_bad_images, test_share
        )
    if name in ("cifar", "cifar10"):
        return cifar.load(name, data_dir, split, labels, image_size)
    if name in imagenet.SIZES:
        return imagenet.load(name, data_dir, split, labels, image_size)
    tfds_set = tfds_images.TfdsSet(name, name.removeprefix(tfds_images.PREFIX))
    return tfds_images.load(
        tfds_set, data_dir, split, labels, image_size, tfds_split_test
    )


def has_labels(name: str, data_dir: str | None, split: str) -> bool:
    """Whether `load` would find labels. Arguments as those of `load`.

    False where there is no such data set: `load` says what is wrong.
    """
    data_dir = local_path(data_dir)
    if name == "npz":
        return npz.has_labels(data_dir, split)
    if name == "folder":
        return folder.has_labels(data_dir, split)
    if is_of_tfds(name):
        return tfds_images.has_labels(name, data_dir)
    return name in ("shapes", "cifar", "cifar10")
