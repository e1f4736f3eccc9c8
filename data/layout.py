"""What a data_dir is: a local path, and which data set its files look like."""

import os

from data.image_file import EXTENSIONS
from data.source import SPLITS, printable
from pixel_cnn_pp.files import is_address


def local_path(data_dir: str | None) -> str | None:
    """data_dir with ~ expanded, None where it is empty; addresses are rejected."""
    if not data_dir:
        return None
    data_dir = os.path.expanduser(data_dir)
    if is_address(data_dir):
        raise ValueError(
            f"data_dir={printable(data_dir)} is an address, and only local files are "
            "read; copy the data and give its path, for example data_dir=/tmp/images."
        )
    return data_dir


def has_images(folder: str) -> bool:
    """Whether an image file lies in a folder or directly in one of its folders."""
    for root, folders, files in os.walk(folder):
        if any(file.lower().endswith(EXTENSIONS) for file in files):
            return True
        if root != folder:
            folders.clear()
    return False


def splits_in(folder: str) -> list[str]:
    """Which of train and test it has as folders."""
    return [split for split in SPLITS if os.path.isdir(os.path.join(folder, split))]


def other_data_set(data_dir: str) -> str | None:
    """Flags of folder or npz where data_dir looks like theirs."""
    if os.path.isfile(data_dir):
        is_npz = data_dir.lower().endswith(".npz")
        return f"-d npz -i {printable(data_dir)}" if is_npz else None
    if not os.path.isdir(data_dir):
        return None
    parent, name = os.path.split(os.path.abspath(data_dir))
    if name in SPLITS and has_images(data_dir):
        return f"-d folder -i {printable(parent)}"
    if splits_in(data_dir):
        return f"-d folder -i {printable(data_dir)}"
    if has_images(data_dir):
        return f"-d folder -i {printable(data_dir)} (and --test_share=0.1 to train)"
    files = sorted(file for file in os.listdir(data_dir) if file.endswith(".npz"))
    return f"-d npz -i {printable(os.path.join(data_dir, files[0]))}" if files else None
