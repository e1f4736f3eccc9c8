"""folder: train/ and test/ folders of image files, or one folder, read lazily.

The folders inside train/, or inside the one folder, that hold images are the classes.
image_tree.py says which files are found, image_file.py what is read of a file.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from data import image_file
from data.image_split import find_files, folder_of
from data.image_tree import class_of, find_classes, find_images
from data.resize import crop_and_resize
from data.source import ReadError, Source, printable, warn_if_quantized

NAMED = 3  # Bad files that are named; the others are counted.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FolderSource(Source):
    """Image files, relative to `root`, and, where asked for, labels int32 [N]."""

    root: str
    files: tuple[str, ...] = dataclasses.field(repr=False)
    labels: tf.Tensor | None = dataclasses.field(repr=False)
    image_size: int | None

    def _name(self, index: int) -> str:
        """Path of a file, from the folder of the split."""
        return self.files[index]

    def read_pixels(self, index: int) -> np.ndarray:
        """Pixels uint8 [H, W, C] of a file as it is now, before any resizing."""
        path = os.path.join(self.root, self.files[index])
        h, w, channels = self.image_shape
        try:
            pixels, _ = image_file.read(path)
            is_one_size = self.image_size is not None or pixels.shape[:2] == (h, w)
            if pixels.shape[2] > channels or not is_one_size:
                shapes = list(pixels.shape), list(self.image_shape)
                raise ValueError("is now {} where images are {}".format(*shapes))
        except (ValueError, OSError) as error:
            reason = error
            if isinstance(error, OSError):
                reason = f"cannot be opened, {error.strerror}"
            raise ReadError(
                f"{printable(path)} {reason}, but it could be read before."
            ) from error
        return np.broadcast_to(pixels, (*pixels.shape[:2], channels))

    def _read(self, order: tf.data.Dataset) -> tf.data.Dataset:
        def read(index: tf.Tensor) -> dict[str, tf.Tensor]:
            image = tf.numpy_function(self.read_pixels, [index], tf.uint8)
            image = tf.ensure_shape(image, (None, None, self.image_shape[2]))
            if self.image_size is not None:
                image = crop_and_resize(image, self.image_size)
            example = {"image": tf.ensure_shape(image, self.image_shape)}
            if self.labels is not None:
                example["label"] = self.labels[index]
            return example

        return order.map(read, num_parallel_calls=os.cpu_count(), deterministic=True)


class Checked(NamedTuple):
    """What is kept of a file that was decoded once."""

    shape: tuple[int, int, int]
    brightest: int  # The highest pixel value, of 16 bits the upper 8.
    is_16_bit: bool


def check_file(path: str) -> Checked | str:
    """Decodes a file once. Of a bad one, returns what is wrong with it."""
    try:
        pixels, is_16_bit = image_file.read(path, count_rows=True)
    except ValueError as error:
        return str(error)
    return Checked(pixels.shape, int(pixels.max()), is_16_bit)


def check_files(
    root: str, files: list[str], skip_bad_images: bool
) -> dict[str, Checked]:
    """The files that can be read, in their order; others are rejected or skipped."""
    good, bad = {}, []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        paths = [os.path.join(root, file) for file in files]
        for file, path, checked in zip(
            files, paths, threads.map(check_file, paths), strict=True
        ):
            if isinstance(checked, Checked):
                good[file] = checked
            elif skip_bad_images:
                bad.append(f"{printable(file)} {checked}")
            else:
                raise ValueError(
                    f"{printable(path)} {checked}; repair or remove it, or "
                    "give --skip_bad_images to skip all such files."
                )
    if not good:
        raise ValueError(
            f"{printable(root)}: none of its {len(files)} images can be read "
            f"({bad[0]}); put others there."
        )
    if bad:
        named = "; ".join(bad[:NAMED]) + ("; …" if len(bad) > NAMED else "")
        logging.warning(
            f"{printable(root)}: {len(bad)} of {len(files)} images are skipped: {named}"
        )
    warn_of_dark_images(root, list(good.values()))
    return good


def warn_of_dark_images(root: str, checked: list[Checked]) -> None:
    """Warns where all images of 16 bits use fewer of them, such as 12, or where all
    images have 8 bits and look quantized."""
    brightest = [c.brightest for c in checked if c.is_16_bit]
    if not brightest:
        warn_if_quantized(printable(root), max(c.brightest for c in checked))
        return
    num_bits = 8 + max(brightest).bit_length()
    if num_bits < 16:
        logging.warning(
            f"{printable(root)}: its {len(brightest)} images of 16 bits use the lower "
            f"{num_bits} bits alone, and the upper 8 are kept, so they become dark; "
            f"multiply their values by {1 << (16 - num_bits)}."
        )


def warn_of_other_sizes(
    root: str, shapes: dict[str, tuple[int, int, int]], side: int
) -> None:
    """Warns of images that are resized: their scores say little."""
    resized = [file for file, (h, w, _) in shapes.items() if (h, w) != (side, side)]
    if resized:
        h, w, _ = shapes[resized[0]]
        logging.warning(
            f"{printable(root)}: {len(resized)} of {len(shapes)} images are cropped to "
            f"a square and resized to {side}×{side}, the first of them "
            f"{printable(resized[0])} of {h}×{w}."
        )


def one_size(root: str, shapes: dict[str, tuple[int, int, int]]) -> tuple[int, int]:
    """H and W of all images. Raises ValueError where they differ."""
    first = next(iter(shapes))
    h, w, _ = shapes[first]
    for file, (other_h, other_w, _) in shapes.items():
        if (other_h, other_w) != (h, w):
            raise ValueError(
                f"{printable(root)}: {printable(first)} is {h}×{w} but "
                f"{printable(file)} is {other_h}×{other_w} where images have one size; "
                "give image_size=N to crop each to a square and resize it to N×N."
            )
    return h, w


def find_labels(
    root: str, files: list[str], class_names: tuple[str, ...]
) -> dict[str, int]:
    """The label of each file: the index of the class in whose folder it lies."""
    index_of = {name: index for index, name in enumerate(class_names)}
    labels = {}
    for file in files:
        name, path = class_of(file), printable(os.path.join(root, file))
        if name is None:
            raise ValueError(
                f"{path} lies in no class folder, and -c or a class-conditional model "
                "needs the class of each image; put it in a folder of that name."
            )
        if name not in index_of:
            raise ValueError(
                f"{path}: train has no class {name!r} (it has "
                f"{', '.join(map(printable, class_names)):.200}); add it there or ask "
                "for no labels."
            )
        labels[file] = index_of[name]
    return labels


def check_classes(root: str, class_names: tuple[str, ...], labels: list[int]) -> None:
    """Raises ValueError where no image of a class of train can be read."""
    missing = set(range(len(class_names))) - set(labels)
    if missing:
        raise ValueError(
            f"{printable(root)}: no image of class {class_names[min(missing)]!r} can "
            "be read; remove its folder or put other images there."
        )


def has_labels(data_dir: str | None, split: str) -> bool:
    """Whether every image of a split lies in the folder of a class of train."""
    if data_dir is None:
        return False
    try:
        train, root = folder_of(data_dir, "train"), folder_of(data_dir, split)
    except FileNotFoundError:
        return False
    class_names = set(find_classes(find_images(train)[0]))
    files, _ = find_images(root)
    return bool(files) and {class_of(file) for file in files} <= class_names


def load(
    data_dir: str | None,
    split: str,
    labels: bool,
    image_size: int | None,
    skip_bad_images: bool,
    test_share: float | None,
) -> FolderSource:
    """Finds the images and decodes each once, to check it; keeps paths and labels.

    A folder of images without train/ and test/ is the split test, or with a test_share
    divided into the two by file names.

    With skip_bad_images, files that cannot be read change nothing else: num_images and
    the order of the others are as if those files did not exist.
    """
    image_file.check_pillow()
    if data_dir is None:
        raise ValueError(
            "folder needs data_dir, a folder with train/ and test/ in it; give it."
        )
    root, files = find_files(data_dir, split, test_share)
    class_names = label_tensor = None
    if labels:
        class_names = find_classes(find_images(folder_of(data_dir, "train"))[0])
        label_of = find_labels(root, files, class_names)
    checked = check_files(root, files, skip_bad_images)
    shapes = {file: checked[file].shape for file in checked}
    if image_size:
        h = w = image_size
        warn_of_other_sizes(root, shapes, image_size)
    else:
        h, w = one_size(root, shapes)
    if labels:
        kept_labels = [label_of[file] for file in shapes]
        if split == "train":
            check_classes(root, class_names, kept_labels)
        with tf.device("CPU:0"):
            label_tensor = tf.constant(kept_labels, tf.int32)
    return FolderSource(
        name="folder",
        split=split,
        image_shape=(h, w, max(channels for _, _, channels in shapes.values())),
        indices=np.arange(len(shapes)),
        class_names=class_names,
        root=root,
        files=tuple(shapes),
        labels=label_tensor,
        image_size=image_size,
    )
