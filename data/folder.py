"""folder: train/ and test/ folders of image files, read as they are asked for.

The names of the folders inside train/ are the classes, in sorted order. Links to
folders are not followed, so a loop of them ends; names that start with a dot or do not
end like those of images are passed over. image_file.py says what is read of a file.
"""

import dataclasses
import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf
from absl import logging

from data import image_file
from data.source import IndexedSource, shown

# Errors of the system that will be the same tomorrow, unlike those of a failing disk:
# broken links, loops of links, files of somebody else.
LASTING = (errno.ENOENT, errno.ELOOP, errno.EACCES)
NAMED = 3  # Files that are left out and named; the others are counted.


def crop_and_resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """The square in the centre, averaged down to uint8 [size, size, C]."""
    h, w = tf.shape(image)[0], tf.shape(image)[1]
    side = tf.minimum(h, w)
    square = tf.image.crop_to_bounding_box(
        image, (h - side) // 2, (w - side) // 2, side, side
    )
    small = tf.image.resize(square, (size, size), method="area")
    return tf.cast(tf.round(small), tf.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FolderSource(IndexedSource):
    """Image files in `root`: paths [N] and, where asked for, labels int32 [N]."""

    root: str
    paths: tf.Tensor = dataclasses.field(repr=False)
    labels: tf.Tensor | None = dataclasses.field(repr=False)
    image_size: int | None

    def names(self) -> Iterator[str]:
        """Paths of the files, from the folder of the split."""
        for path in self.paths:
            yield os.path.relpath(os.fsdecode(path.numpy()), self.root)

    def _read(self, order: tf.data.Dataset) -> tf.data.Dataset:
        def read(index: tf.Tensor) -> dict[str, tf.Tensor]:
            image = image_file.decode(tf.io.read_file(self.paths[index]))
            image = image_file.set_channels(image, self.image_shape[-1])
            if self.image_size is not None:
                image = crop_and_resize(image, self.image_size)
            example = {"image": tf.ensure_shape(image, self.image_shape)}
            if self.labels is not None:
                example["label"] = self.labels[index]
            return example

        return order.map(read, num_parallel_calls=os.cpu_count(), deterministic=True)


def find_images(root: str) -> list[str]:
    """Paths below root, relative to it, of all image files, sorted."""
    found, folders = [], [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.name.lower().endswith(image_file.EXTENSIONS):
                    if not (entry.is_symlink() and os.path.isdir(entry)):
                        found.append(path)
    if not found:
        raise ValueError(
            f"{shown(root)} holds no images; put {', '.join(image_file.EXTENSIONS)} "
            "files in it or in folders below it (links to folders are not followed)."
        )
    return sorted(found)


def read_shape(path: str) -> tuple[int, int, int] | str:
    """(H, W, C) of a file, or what is wrong with it."""
    try:
        return image_file.shape(path)
    except ValueError as error:
        return str(error)
    except OSError as error:
        if error.errno not in LASTING:
            raise
        return f"cannot be opened, {error.strerror}"


def image_shapes(
    root: str, files: list[str], skip_bad_images: bool
) -> dict[str, tuple[int, int, int]]:
    """(H, W, C) of the files that can be read, each decoded once, in their order.

    The others are refused, or reported and left out.
    """
    shapes, bad = {}, []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        paths = [os.path.join(root, file) for file in files]
        for file, path, shape in zip(
            files, paths, threads.map(read_shape, paths), strict=True
        ):
            if not isinstance(shape, str):
                shapes[file] = shape
            elif skip_bad_images:
                bad.append(f"{shown(file)} {shape}")
            else:
                raise ValueError(
                    f"{shown(path)} {shape}; mend it or take it away, or give "
                    "--skip_bad_images to leave out all such files."
                )
    if not shapes:
        raise ValueError(
            f"{shown(root)}: none of its {len(files)} images can be read "
            f"({bad[0]}); put others there."
        )
    if bad:
        named = "; ".join(bad[:NAMED]) + ("; …" if len(bad) > NAMED else "")
        logging.warning(
            "%s: %d of %d images are left out: %s",
            shown(root),
            len(bad),
            len(files),
            named,
        )
    return shapes


def find_class(root: str, file: str, classes: dict[str, int]) -> int:
    """Index of the class whose folder the file lies in."""
    first, *below = file.split(os.sep)
    path = shown(os.path.join(root, file))
    if not below:
        raise ValueError(
            f"{path} lies in no class folder; for labels put every image in a folder "
            "with the name of its class, or ask for no labels."
        )
    if first not in classes:
        raise ValueError(
            f"{path}: train has no class {first!r} (it has "
            f"{', '.join(map(shown, classes))}); add it there or ask for no labels."
        )
    return classes[first]


def find_classes(root: str) -> dict[str, int]:
    """Names of the folders inside root, sorted, and their indices."""
    with os.scandir(root) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        )
    return {name: index for index, name in enumerate(names)}


def has_labels(data_dir: str | None, split: str) -> bool:
    """Whether every image of a split lies in the folder of a class of train."""
    root, train = (os.path.join(data_dir or "", name) for name in (split, "train"))
    if data_dir is None or not (os.path.isdir(root) and os.path.isdir(train)):
        return False
    classes = find_classes(train)
    files = [file.split(os.sep) for file in find_images(root)]
    return all(below and first in classes for first, *below in files)


def check_folder(name: str, data_dir: str, split: str) -> str:
    """Path of the folder of a split, which is there."""
    root = os.path.join(data_dir, split)
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f"data_dir={data_dir}: no folder {root}; {name} needs train/ and test/ "
            "folders of images there."
        )
    return root


def one_size(root: str, shapes: dict[str, tuple[int, int, int]]) -> tuple[int, int]:
    """H and W of all images, which is one."""
    first = next(iter(shapes))
    h, w, _ = shapes[first]
    for file, (other_h, other_w, _) in shapes.items():
        if (other_h, other_w) != (h, w):
            raise ValueError(
                f"{shown(root)}: {shown(first)} is {h}×{w} but {shown(file)} is "
                f"{other_h}×{other_w} where images have one size; give image_size=N to "
                "crop each to a square and resize it to N×N."
            )
    return h, w


def load(
    name: str,
    data_dir: str | None,
    split: str,
    labels: bool,
    image_size: int | None,
    skip_bad_images: bool = False,
) -> FolderSource:
    """Finds the images, decodes each once, and keeps their paths and labels alone.

    With skip_bad_images those that cannot be read are as if they were not there: the
    order of the others, and num_images, are what they would be without them.
    """
    if data_dir is None:
        raise ValueError(
            f"{name} needs data_dir, a folder with train/ and test/ in it; give it."
        )
    root = check_folder(name, data_dir, split)
    files = find_images(root)
    if labels:
        classes = find_classes(check_folder(name, data_dir, "train"))
        label_of_file = {file: find_class(root, file, classes) for file in files}
    shapes = image_shapes(root, files, skip_bad_images)
    if image_size is None:
        h, w = one_size(root, shapes)
    else:
        h = w = image_size
    is_grey = all(channels <= 2 for _, _, channels in shapes.values())
    with tf.device("CPU:0"):
        paths = [os.fsencode(os.path.join(root, file)) for file in shapes]
        return FolderSource(
            name=name,
            split=split,
            image_shape=(h, w, 1 if is_grey else 3),
            num_images=len(shapes),
            num_labels=len(classes) if labels else None,
            root=root,
            paths=tf.constant(paths),
            labels=(
                tf.constant([label_of_file[file] for file in shapes], tf.int32)
                if labels
                else None
            ),
            image_size=image_size,
        )
