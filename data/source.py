"""Source: what every data set offers, and the order of its examples."""

import abc
import dataclasses
import pickle
import re
import struct
import tokenize
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging

SPLITS = ("train", "test")
CHUNK = 64  # Examples read at once: tf.data takes its time per element, not per byte.

# What libraries raise for damaged files; none documents a narrower set.
DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    MemoryError,
    SyntaxError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tokenize.TokenError,
    pickle.UnpicklingError,
)


def printable(name: str) -> str:
    """A name or path in one line: escaped where it has unprintable characters."""
    return name if name.isprintable() else ascii(name)


def short_reason(error: Exception) -> str:
    """The text of an error, of any length, in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return printable(text if len(text) <= 300 else f"{text[:300]} …")


class ReadError(OSError):
    """A file that could be read when the data set was loaded cannot be read any more.

    Raised while examples are streamed. TensorFlow turns it into an UnknownError, whose
    text has it back by `ReadError.of`.
    """

    @classmethod
    def of(cls, error: tf.errors.OpError) -> "ReadError | None":
        """The ReadError in an error of TensorFlow; None where it is another error."""
        match = re.search(r"ReadError: (.+)", error.message)
        return cls(match[1]) if match else None


def warn_if_quantized(name: str, highest: int) -> None:
    """Warns where the highest pixel value of all images is too low for 8 bits."""
    if 0 < highest < 64:
        logging.warning(
            f"{name}: no pixel value is above {highest} of 255, so the images are very "
            "dark, or quantized already: then they belong in an npz with num_levels="
            f"{2 ** highest.bit_length()}."
        )


def class_name(text: str) -> str:
    """Text in the Unicode form NFC; what UTF-8 cannot encode is written as \\udcff."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return unicodedata.normalize("NFC", text)


def permutation(num: int, epoch: int | None, seed: int) -> np.ndarray:
    """Order of `num` examples, int64 [num]: as stored, or random by (seed, epoch)."""
    if epoch is None:
        return np.arange(num)
    return np.random.default_rng([seed, epoch]).permutation(num)


def check_image_size(
    name: str, image_shape: tuple[int, int, int], image_size: int | None
) -> None:
    """Raises ValueError for another size than that of images that are not resized."""
    h, w, _ = image_shape
    if image_size is not None and (image_size, image_size) != (h, w):
        raise ValueError(
            f"image_size={image_size}: the images of {name} are {h}×{w} and are not "
            "resized; remove image_size, which is for shapes, folder and other sets of "
            "tensorflow-datasets."
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Source(abc.ABC):
    """One split of a data set, or a part of it.

    image_shape is (H, W, C); indices, int64 [num_images], are the places of its images
    in the split; class_names are the names of the labels 0 … L - 1, or None where
    labels were not asked for, each as `class_name` gives it; pixel values are
    0 … num_levels − 1, uint8 or, where there are more than 256, int32.
    """

    name: str
    split: str
    image_shape: tuple[int, int, int]
    indices: np.ndarray = dataclasses.field(repr=False)
    class_names: tuple[str, ...] | None = None
    num_levels: int = 256

    @property
    def num_images(self) -> int:
        return len(self.indices)

    @property
    def num_labels(self) -> int | None:
        """Number of classes L, or None where labels were not asked for."""
        return None if self.class_names is None else len(self.class_names)

    def examples(
        self, epoch: int | None = None, seed: int = 0, start: int = 0
    ) -> tf.data.Dataset:
        """Every example once: {'image': [H, W, C]}, with 'label' int32 [] if any.

        As stored where epoch is None, else in a random order that depends on (seed,
        epoch) alone, both 0 or more. `start` skips the first examples of that order.
        """
        if not 0 <= start <= self.num_images:
            raise ValueError(
                f"start={start}: {self.name} {self.split} has {self.num_images} "
                f"images; use 0 … {self.num_images}."
            )
        order = self.indices[permutation(self.num_images, epoch, seed)[start:]]
        examples = self._read(tf.data.Dataset.from_tensor_slices(order))
        return examples.apply(tf.data.experimental.assert_cardinality(len(order)))

    def names(self) -> Iterator[str]:
        """What the images are called, as stored: their numbers from 0, or files."""
        return map(self._name, self.indices)

    def _name(self, index: int) -> str:
        return str(index)

    @abc.abstractmethod
    def _read(self, order: tf.data.Dataset) -> tf.data.Dataset:
        """Examples of the stored images with the indices, int64 [], in `order`."""


class ChunkedSource(Source):
    """A source that reads many examples at once."""

    def _read(self, order: tf.data.Dataset) -> tf.data.Dataset:
        return order.batch(CHUNK).map(self._take).unbatch()

    @abc.abstractmethod
    def _take(self, indices: tf.Tensor) -> dict[str, tf.Tensor]:
        """Examples of the indices, int64 [N]: image [N, H, W, C] and label [N]."""
