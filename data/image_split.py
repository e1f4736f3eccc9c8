"""Which image files are train and test: two folders, or one that is divided."""

import hashlib
import os

from absl import logging

from data import image_file
from data.image_tree import find_classes, find_images, is_run
from data.layout import has_images, other_data_set, splits_in
from data.source import SPLITS, shown

# In small letters: no classes have these names.
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


def check_folder(name: str, data_dir: str, split: str) -> str:
    """Path of the folder of a split, which exists."""
    root = os.path.join(data_dir, split)
    if not os.path.isdir(root):
        flags = other_data_set(data_dir)
        is_other = flags not in (None, f"-d folder -i {shown(data_dir)}")
        hint = f"; try {flags}" if is_other else ""
        is_split = os.path.basename(os.path.abspath(data_dir)) in SPLITS
        if is_one_folder(data_dir) and not is_split:
            hint = ", or --test_share=0.1 to test on a tenth of the images that it has"
        raise FileNotFoundError(
            f"data_dir={shown(data_dir)}: no folder {shown(root)}; {name} needs train/ "
            f"and test/ folders of images there{hint}."
        )
    return root


def find_files(
    name: str, data_dir: str, split: str, test_share: float | None
) -> tuple[str, list[str]]:
    """The folder of a split's images, and their paths from there."""
    if not is_one_folder(data_dir):
        if test_share is not None:
            found, remedy = splits_in(data_dir), "remove it"
            if len(found) == 1:
                alone = os.path.join(data_dir, *found)
                remedy = f"give -i {shown(alone)} to divide what it has"
            if found:
                raise ValueError(
                    f"--test_share={test_share}: {shown(data_dir)} has "
                    f"{' and '.join(f'{s}/' for s in found)}; {remedy}."
                )
        root = check_folder(name, data_dir, split)
        return root, find_split(root)
    if test_share is None and split == "train":
        check_folder(name, data_dir, split)
    files = find_split(data_dir)
    for folder in find_classes(files):
        if folder.lower() in NAMES_OF_SPLITS:
            raise ValueError(
                f"data_dir={shown(data_dir)}: the folder {shown(folder)} looks like a "
                "split and would be a class; name the splits train and test."
            )
    if test_share is None:
        return data_dir, files
    if len(files) < 2:
        raise ValueError(
            f"--test_share={test_share}: {shown(data_dir)} has one image; put more "
            "there, for training and for the test."
        )
    return data_dir, split_by_name(files, test_share)[split]


def find_split(root: str) -> list[str]:
    """The image files of a split, at least one; a warning says what is skipped."""
    files, skipped = find_images(root)
    if not files:
        raise ValueError(
            f"{shown(root)} holds no images (skipped: {skipped or 'nothing'}); put "
            f"{', '.join(image_file.EXTENSIONS)} files in it or in folders below it."
        )
    if skipped:
        logging.warning("%s: skipped %s.", shown(root), skipped)
    return files


def split_by_name(files: list[str], test_share: float) -> dict[str, list[str]]:
    """The files of 'train' and 'test', in their order.

    The hash of its path decides where a file belongs, so that it stays there whatever
    other files come and go. About `test_share` are in test; neither is empty.
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
