"""Image data sets of tensorflow_datasets, by name, streamed from their prepared files.

Prepared are TFRecord files, the format that `tfds.load` leaves everywhere, whose
records are read by their index. So the order of an epoch is a permutation of all
images, and to start anywhere in it costs nothing. `tfds.data_source` would need the
files in another format, and `as_dataset` reads from the start and shuffles a buffer.
"""

import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from data import tfds_builder
from data.resize import crop_and_resize
from data.source import ChunkedSource, ReadError, class_name, printable, short_reason
from data.tfrecord import Records

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

PREFIX = "tfds:"
REMEDY = (
    "try again with a network, or copy the folder from a machine where it is prepared, "
    "and give the tensorflow_datasets folder that it lies in: -i ~/tensorflow_datasets."
)


@dataclasses.dataclass(frozen=True)
class TfdsSet:
    """A data set by its name here and in tensorflow_datasets."""

    name: str
    tfds_name: str
    image_shape: tuple[int, int, int] | None = None  # Where it is not declared there.
    remedy: str = REMEDY  # Where the set cannot be prepared.
    manual_dir: str | None = None  # Folder of archives that were put there by hand.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TfdsSource(ChunkedSource):
    """Records that are parsed and decoded as they are read.

    features are the image and, where labels were asked for, the label, by the names
    `keys` that they have in the data set.
    """

    records: Records = dataclasses.field(repr=False)
    features: "tfds.features.FeaturesDict" = dataclasses.field(repr=False)
    keys: tuple[str, ...]
    is_resized: bool

    def _read(self, order: tf.data.Dataset) -> tf.data.Dataset:
        return (
            super()
            ._read(order)
            .map(self._decode, num_parallel_calls=os.cpu_count(), deterministic=True)
        )

    def _take(self, indices: tf.Tensor) -> tf.Tensor:
        """The records as they are stored, strings [N]."""
        records = tf.numpy_function(self._read_records, [indices], tf.string)
        return tf.ensure_shape(records, (None,))

    def _read_records(self, indices: np.ndarray) -> np.ndarray:
        try:
            return np.array([self.records.read(i) for i in indices], object)
        except OSError as error:
            raise ReadError(
                f"{printable(str(error.filename))} cannot be opened, {error.strerror}, "
                "but it could be read before."
            ) from error

    def _decode(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        example = self.features.deserialize_example(record)
        image = example[self.keys[0]]
        if self.is_resized:
            image = crop_and_resize(image, self.image_shape[0])
        decoded = {"image": tf.ensure_shape(image, self.image_shape)}
        if self.class_names is not None:
            decoded["label"] = tf.cast(example[self.keys[1]], tf.int32)
        return decoded


def find_keys(
    name: str, builder: "tfds.core.DatasetBuilder", labels: bool
) -> tuple[str, ...]:
    """Keys of the image and, where asked for, of the label in an example.

    Raises ValueError for a set without exactly one of each, or without 8-bit images.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        features = {}
    has = f"an example of it has {', '.join(features):.200}"

    def find(kind: type, usual: str, remedy: str) -> str:
        keys = [key for key in features if isinstance(features[key], kind)]
        keys = [usual] if usual in keys else keys
        if len(keys) != 1:
            number = "several" if keys else "no"
            raise ValueError(f"{name} has {number} {usual}s ({has}); {remedy}.")
        return keys[0]

    other_set = "give a data set of images, for example tfds:mnist"
    key = find(tfds.features.Image, "image", other_set)
    image = features[key]
    if image.np_dtype != np.uint8 or image.shape[2] is None:
        raise ValueError(
            f"{name} has images {np.dtype(image.np_dtype)} {list(image.shape)}, where "
            f"8 bits and one number of channels are read; {other_set}."
        )
    if not labels:
        return (key,)
    remedy = "leave class-conditional off"
    return key, find(tfds.features.ClassLabel, "label", remedy)


def has_labels(name: str, data_dir: str | None) -> bool:
    """Whether a data set has labels; nothing is downloaded."""
    try:
        builder = tfds_builder.find(name.removeprefix(PREFIX), data_dir)
        find_keys(name, builder, labels=True)
    except (ValueError, OSError):
        return False
    return True


def find_positions(
    name: str, builder: "tfds.core.DatasetBuilder", split: str, tfds_split: str
) -> dict[str, np.ndarray]:
    """The positions of the records of `tfds_split` in each file, ascending.

    tfds_split is any that tensorflow_datasets understands, for `split` of `load`.
    """
    try:
        parts = builder.info.splits[tfds_split].file_instructions
    except (ValueError, LookupError, AssertionError) as error:
        remedy = "train on another data set"
        if split == "test":
            remedy = (
                "give another --tfds_split_test, for example 'train[90%:]' for the "
                "last tenth of train, which is then not trained on"
            )
        raise ValueError(
            f"{name} has no split {printable(tfds_split)} (it has "
            f"{', '.join(builder.info.splits)}); {remedy}."
        ) from error
    positions = {}
    for part in parts:
        path, added = part.filename, np.arange(part.skip, part.skip + part.take)
        positions[path] = np.union1d(positions.get(path, added), added)
    return positions


def positions_of_split(
    name: str, builder: "tfds.core.DatasetBuilder", split: str, test: str | None
) -> dict[str, np.ndarray]:
    """As `find_positions`, for test, or for train without what `test` takes of it."""
    tfds_split = "train" if split == "train" else test or "test"
    positions = find_positions(name, builder, split, tfds_split)
    if split == "train" and test is not None:
        tested = find_positions(name, builder, "test", test)
        for path in positions.keys() & tested.keys():
            positions[path] = np.setdiff1d(positions[path], tested[path])
    positions = {path: kept for path, kept in positions.items() if len(kept)}
    if not positions:
        raise ValueError(
            f"--tfds_split_test={test}: no image of {name} is left for {split}; give "
            "another part, for example 'train[90%:]'."
        )
    return positions


def find_shape(
    name: str, image: "tfds.features.Image", image_size: int | None
) -> tuple[int, int, int]:
    """The shape of all images after resizing, if any."""
    h, w, channels = image.shape
    if image_size is not None:
        return image_size, image_size, channels
    if h is None or w is None:
        raise ValueError(
            f"{name} has images of several sizes; give --image_size=N, for example 32, "
            "to crop each to a square and resize it to N×N."
        )
    return h, w, channels


def check_first(source: TfdsSource, folder: str) -> None:
    """Decodes the first example. Raises ValueError if it is not as it should be."""
    example = source.features.deserialize_example(source.records.read(0))
    shape = tuple(example[source.keys[0]].shape)
    if not source.is_resized and shape != source.image_shape:
        raise ValueError(
            f"{folder} holds images {list(shape)} where {source.name} has "
            f"{list(source.image_shape)}; remove that folder to prepare it again."
        )
    if source.class_names is not None and example[source.keys[1]] < 0:
        raise ValueError(
            f"{source.name} {source.split}: its labels are not published, they are -1; "
            "leave class-conditional off, or give another --tfds_split_test."
        )


def load(
    tfds_set: TfdsSet,
    data_dir: str | None,
    split: str,
    labels: bool,
    image_size: int | None,
    tfds_split_test: str | None = None,
) -> TfdsSource:
    """Finds the set, prepares it where needed, and notes where its records are."""
    import tensorflow_datasets as tfds

    name, image_shape = tfds_set.name, tfds_set.image_shape
    builder = tfds_builder.find(tfds_set.tfds_name, data_dir, tfds_set.manual_dir)
    keys = find_keys(name, builder, labels)
    features = builder.info.features
    shape = image_shape or find_shape(name, features[keys[0]], image_size)
    tfds_builder.prepare(builder, tfds_set.remedy, tfds_set.manual_dir)
    positions = positions_of_split(name, builder, split, tfds_split_test)
    names = None
    if labels:
        names = tuple(map(class_name, features[keys[1]].names))
    try:
        records = Records.at(positions)
        source = TfdsSource(
            name=name,
            split=split,
            image_shape=shape,
            indices=np.arange(len(records)),
            class_names=names,
            records=records,
            features=tfds.features.FeaturesDict({key: features[key] for key in keys}),
            keys=keys,
            is_resized=image_shape is None and features[keys[0]].shape != shape,
        )
        check_first(source, builder.data_dir)
    except (tf.errors.OpError, OSError, EOFError) as error:
        raise ValueError(
            f"{builder.data_dir} cannot be read ({short_reason(error)}); remove that "
            "folder to prepare it again."
        ) from error
    return source
