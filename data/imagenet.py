"""imagenet: the small ImageNet of van den Oord et al., streamed from TFDS.

This is `downsampled_imagenet`, without labels, at 32×32 or 64×64; its validation split
is the test set. `imagenet_resized` is another set of images: bits/dim on it are not
comparable. The original address is dead, so the tars are put in place by hand.
"""

import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from data import tfds_builder
from data.source import Source, check_image_size, permutation

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SIZES = {"imagenet": 32, "imagenet32": 32, "imagenet64": 64}
TFDS_SPLITS = {"train": "train", "test": "validation"}
SHUFFLED = 8192  # Images that are shuffled together, and held in memory meanwhile.
CYCLE = 16  # Files, and images of each in turn, that are read together.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImagenetSource(Source):
    """Images read from files in an order of files, then shuffled block by block."""

    builder: "tfds.core.DatasetBuilder" = dataclasses.field(repr=False)

    def _examples(self, epoch: int | None, seed: int, start: int) -> tf.data.Dataset:
        images = read(self.builder, self.split, epoch, seed)
        images = images.map(lambda image: tf.ensure_shape(image, self.image_shape))
        if epoch is None:
            images = images.skip(start)
        else:
            images = shuffle_blocks(images, epoch, seed, start)
        images = images.apply(
            tf.data.experimental.assert_cardinality(self.num_images - start)
        )
        return images.map(lambda image: {"image": image})


def read(
    builder: "tfds.core.DatasetBuilder", split: str, epoch: int | None, seed: int
) -> tf.data.Dataset:
    """Images uint8 [H, W, C], the files in the order of (seed, epoch)."""
    import tensorflow_datasets as tfds  # Here, as the other sources do without it.

    def order_files(files: list) -> list:
        return [files[i] for i in permutation(len(files), epoch, seed)]

    # These lengths are part of the order, so none is left to the machine.
    config = tfds.ReadConfig(
        try_autocache=False,
        interleave_cycle_length=CYCLE,
        interleave_block_length=CYCLE,
        experimental_interleave_sort_fn=order_files,
    )
    examples = builder.as_dataset(split=TFDS_SPLITS[split], read_config=config)
    return examples.map(lambda example: example["image"])


def shuffle_blocks(
    images: tf.data.Dataset, epoch: int, seed: int, start: int
) -> tf.data.Dataset:
    """Images shuffled within each block of SHUFFLED, from the image `start` on.

    Dataset.shuffle would also follow the global seed, and could not start in between.
    """
    key = np.random.SeedSequence([seed, epoch]).generate_state(2).astype(np.int64)

    def shuffle(block: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        block_key = tf.random.experimental.stateless_fold_in(key, block)
        return tf.random.experimental.stateless_shuffle(images, block_key, alg="philox")

    first_block, rest = divmod(start, SHUFFLED)
    blocks = images.skip(first_block * SHUFFLED).batch(SHUFFLED).enumerate(first_block)
    return blocks.map(shuffle).prefetch(1).unbatch().skip(rest)


def count(images: tf.data.Dataset) -> int:
    """Number of images; they are read where the metadata do not say it."""
    num_images = int(images.cardinality())
    return num_images if num_images >= 0 else sum(1 for _ in images)


def load(
    name: str, data_dir: str | None, split: str, labels: bool, image_size: int | None
) -> ImagenetSource:
    """Prepares the set where needed; streams it."""
    size = SIZES[name]
    if labels:
        raise ValueError(
            f"We currently don't have labels for the small imagenet data set ({name}); "
            "leave class-conditional off, or use cifar, shapes, npz or folder."
        )
    check_image_size(name, (size, size, 3), image_size)
    tars = [f"{part}_{size}x{size}.tar" for part in ("train", "valid")]
    places = [] if data_dir is None else [os.path.join(data_dir, tar) for tar in tars]
    builder = tfds_builder.prepare(
        f"downsampled_imagenet/{size}x{size}",
        data_dir,
        f"put {' and '.join(tars)} into data_dir (their address is dead).",
        manual_dir=data_dir if any(map(os.path.exists, places)) else None,
    )
    with tfds_builder.errors_in_one_line(builder):
        images = read(builder, split, epoch=None, seed=0)
        shape = tuple(int(length) for length in tf.shape(next(iter(images))))
        num_images = count(images)
    if shape != (size, size, 3):
        raise ValueError(
            f"{builder.data_dir} holds images {list(shape)} where {name} has "
            f"{[size, size, 3]}; take that folder away to prepare it again."
        )
    return ImagenetSource(
        name=name,
        split=split,
        image_shape=shape,
        num_images=num_images,
        builder=builder,
    )
