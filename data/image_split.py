"""Which image files are train and test: two folders, or one that is divided."""

import hashlib
import os

from absl import logging

from data import image_file
from data.image_tree import find_classes, find_images, is_run
from data.layout import has_images, other_data_set, splits_in
from data.source import SPLITS, printable

# In small letters. Folders of these names are taken for splits, never for classes.
NAMES_OF_SPLITS = (*SPLITS, "training", "testing", "val", "valid", "validation")


def is_one_folder(data_dir: str) -> bool:
    """Whether data_dir itself holds the images, not train/ and test/ in it."""
    return not splits_in(data_dir) and has_images(data_dir)


def are_images_of(data_dir: str, folder: str) -> bool:
    """Whether image files in `folder` are among the images of data_dir."""
    for split in splits_in(data_dir) or [""]:
        root = os.path.realpath(os.path.join(data_dir, split))
        path = os.path.realpath(folder)
        while os.path.commonpath([root, path]) == root and not is_run(path):
            if path == root:
                return True
            path = os.path.dirname(path)
    return False


def no_folder(data_dir: str, split: str) -> FileNotFoundError:
    """The error where data_dir has no folder of a split."""
    flags = other_data_set(data_dir)
    is_other = flags not in (None, f"-d folder -i {printable(data_dir)}")
    hint = f"; try {flags}" if is_other else ""
    root = os.path.join(data_dir, split)
    return FileNotFoundError(
        f"data_dir={printable(data_dir)}: no folder {printable(root)}; folder needs "
        f"train/ and test/ folders of images there{hint}."
    )


def folder_of(data_dir: str, split: str) -> str:
    """The folder of a split's images, which is data_dir itself if they lie there."""
    root = data_dir if is_one_folder(data_dir) else os.path.join(data_dir, split)
    if not os.path.isdir(root):
        raise no_folder(data_dir, split)
    return root


def find_files(
    data_dir: str, split: str, test_share: float | None
) -> tuple[str, list[str]]:
    """The folder of a split's images, and their paths from there."""
    splits = splits_in(data_dir)
    if splits and test_share is not None:
        raise ValueError(
            f"--test_share={test_share}: {printable(data_dir)} has "
            f"{' and '.join(f'{name}/' for name in splits)}; remove it, or give -i "
            f"{printable(os.path.join(data_dir, splits[0]))} to divide what that has."
        )
    root = folder_of(data_dir, split)
    if splits:
        return root, find_files_in(root)
    if test_share is None and split == "train":
        raise no_folder(data_dir, split)
    files = find_files_in(root)
    for folder in find_classes(files):
        if folder.lower() in NAMES_OF_SPLITS:
            raise ValueError(
                f"data_dir={printable(data_dir)}: the folder {printable(folder)} looks "
                "like a split and would be a class; name the splits train and test."
            )
    if test_share is None:
        return root, files
    if len(files) < 2:
        raise ValueError(
            f"--test_share={test_share}: {printable(data_dir)} has one image; put more "
            "there, for training and for the test."
        )
    return root, split_by_name(files, test_share)[split]


def find_files_in(root: str) -> list[str]:
    """The image files below a folder, at least one; warns of what is skipped."""
    files, skipped = find_images(root)
    if not files:
        raise ValueError(
            f"{printable(root)} holds no images (skipped: {skipped or 'nothing'}); put "
            f"{', '.join(image_file.EXTENSIONS)} files in it or in folders below it."
        )
    if skipped:
        logging.warning(f"{printable(root)}: skipped {skipped}.")
    return files


def split_by_name(files: list[str], test_share: float) -> dict[str, list[str]]:
    """The files of 'train' and of 'test', each in the order of `files`.

    The hash of its path decides where a file belongs, so that it stays there when other
    files are added or removed. About `test_share` are in test; neither is empty.
    """
    place = {
        file: int(hashlib.sha256(os.fsencode(file)).hexdigest()[:13], 16) / 16**13
        for file in files
    }
    by_place = sorted(files, key=place.get)
    num_test = sum(place[file] < test_share for file in files)
    held_out = set(by_place[: min(max(num_test, 1), len(files) - 1)])
    return {
        "train": [file for file in files if file not in held_out],
        "test": [file for file in files if file in held_out],
    }
