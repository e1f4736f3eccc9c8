"""folder: train/ and test/ folders of image files, read as they are asked for.

The names of the folders inside train/ are the classes, in sorted order. Links to
folders are not followed, and names that start with a dot are passed over.
"""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from data.source import IndexedSource

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif")


def decode(contents: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, C] of a file's bytes; of an animation, the first frame."""
    return tf.io.decode_image(contents, expand_animations=False)


def set_channels(image: tf.Tensor, channels: int) -> tf.Tensor:
    """Grey (with alpha or not) or colour [H, W, 1 … 4] to 1 or 3 channels, no alpha."""
    is_grey = tf.shape(image)[-1] <= 2
    colours = tf.where(is_grey, [0, 0, 0], [0, 1, 2])
    return tf.gather(image, colours[:channels], axis=-1)  # [H, W, channels]


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
    """Image files: paths [N] and, where asked for, labels int32 [N]."""

    paths: tf.Tensor = dataclasses.field(repr=False)
    labels: tf.Tensor | None = dataclasses.field(repr=False)
    image_size: int | None

    def _read(self, order: tf.data.Dataset) -> tf.data.Dataset:
        def read(index: tf.Tensor) -> dict[str, tf.Tensor]:
            image = decode(tf.io.read_file(self.paths[index]))
            image = set_channels(image, self.image_shape[-1])
            if self.image_size is not None:
                image = crop_and_resize(image, self.image_size)
            example = {"image": tf.ensure_shape(image, self.image_shape)}
            if self.labels is not None:
                example["label"] = self.labels[index]
            return example

        return order.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def find_images(root: str) -> list[str]:
    """Paths below root, relative to it, of all image files, sorted."""
    found = []

    def fail(error: OSError) -> None:
        raise error  # os.walk would pass over a folder that it cannot read.

    for folder, folders, files in os.walk(root, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                found.append(os.path.relpath(os.path.join(folder, name), root))
    if not found:
        raise ValueError(
            f"{root} holds no images; put {', '.join(EXTENSIONS)} files in it or in "
            "folders below it (links to folders are not followed)."
        )
    return sorted(found)


def image_shapes(paths: list[bytes]) -> np.ndarray:
    """Shapes [N, 3] of all files, each decoded once; the first unreadable is named."""

    def read_shape(path: tf.Tensor) -> tf.Tensor:
        return tf.shape(decode(tf.io.read_file(path)))  # [3]

    shapes = tf.data.Dataset.from_tensor_slices(paths).map(
        read_shape, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    found = []
    try:
        for shape in shapes:
            found.append(shape.numpy())
    except tf.errors.OpError as error:
        raise ValueError(
            f"{os.fsdecode(paths[len(found)])} cannot be read as an image; mend it or "
            "take it away."
        ) from error
    return np.stack(found)


def find_class(root: str, file: str, classes: list[str]) -> int:
    """Index of the class whose folder the file lies in."""
    first, *below = file.split(os.sep)
    if not below:
        raise ValueError(
            f"{os.path.join(root, file)} lies in no class folder; for labels put every "
            "image in a folder with the name of its class, or ask for no labels."
        )
    if first not in classes:
        raise ValueError(
            f"{os.path.join(root, file)}: train has no class {first!r} (it has "
            f"{', '.join(classes)}); add it there or ask for no labels."
        )
    return classes.index(first)


def find_classes(root: str) -> list[str]:
    """Names of the folders inside root, sorted."""
    with os.scandir(root) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        )


def check_folder(name: str, data_dir: str, split: str) -> str:
    """Path of the folder of a split, which is there."""
    root = os.path.join(data_dir, split)
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f"data_dir={data_dir}: no folder {root}; {name} needs train/ and test/ "
            "folders of images there."
        )
    return root


def one_size(root: str, files: list[str], shapes: np.ndarray) -> tuple[int, int]:
    """H and W of all images, which is one."""
    h, w = (int(length) for length in shapes[0, :2])
    odd = np.flatnonzero((shapes[:, :2] != (h, w)).any(axis=1))
    if odd.size:
        other_h, other_w = shapes[odd[0], :2]
        raise ValueError(
            f"{root}: {files[0]} is {h}×{w} but {files[odd[0]]} is "
            f"{other_h}×{other_w} where images have one size; give image_size=N to "
            "crop each to a square and resize it to N×N."
        )
    return h, w


def load(
    name: str, data_dir: str | None, split: str, labels: bool, image_size: int | None
) -> FolderSource:
    """Finds the images, decodes each once, and keeps their paths and labels alone."""
    if data_dir is None:
        raise ValueError(
            f"{name} needs data_dir, a folder with train/ and test/ in it; give it."
        )
    root = check_folder(name, data_dir, split)
    files = find_images(root)
    classes, label_of_file = None, None
    if labels:
        classes = find_classes(check_folder(name, data_dir, "train"))
        label_of_file = [find_class(root, file, classes) for file in files]
    paths = [os.fsencode(os.path.join(root, file)) for file in files]
    shapes = image_shapes(paths)
    if image_size is None:
        h, w = one_size(root, files, shapes)
    else:
        h = w = image_size
    channels = 1 if (shapes[:, 2] <= 2).all() else 3
    with tf.device("CPU:0"):
        return FolderSource(
            name=name,
            split=split,
            image_shape=(h, w, channels),
            num_images=len(files),
            num_labels=len(classes) if labels else None,
            paths=tf.constant(paths),
            labels=tf.constant(label_of_file, tf.int32) if labels else None,
            image_size=image_size,
        )
