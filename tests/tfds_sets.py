"""Sets of tensorflow_datasets, prepared for the tests from generated examples."""

import numpy as np
import tensorflow_datasets as tfds

tfds.disable_progress_bar()


def prepare(builder, splits, num_shards=None, **kwargs):
    """Prepares a builder from lists of examples, the way it prepares downloaded ones.

    num_shards is the number of files of each split.
    """
    builder._split_generators = lambda *args: {
        split: enumerate(examples) for split, examples in splits.items()
    }
    config = tfds.download.DownloadConfig(
        num_shards=num_shards, try_download_gcs=False, compute_stats="skip"
    )
    builder.download_and_prepare(download_config=config, **kwargs)


def prepare_mocked(name, folder, num_examples):
    """A set of the catalog with the examples of `tfds.testing.mock_data`, in train and
    in test; returns them."""
    with tfds.testing.mock_data(num_examples=num_examples):
        builder = tfds.builder(name)
        (split,) = builder.as_dataset(split=["train"])
        examples = list(tfds.as_numpy(split))
    builder = tfds.builder(name, data_dir=str(folder))
    prepare(builder, {"train": examples, "test": examples})
    return examples


class OfTests(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set that is not in the catalog, with the features of the test."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {}

    def _info(self):
        features = tfds.features.FeaturesDict(self.FEATURES)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
        raise NotImplementedError

    def _generate_examples(self):
        raise NotImplementedError


class NumberedImages(OfTests):
    """Images of which each pixel is their number; the label is that modulo 3."""

    FEATURES = {
        "image": tfds.features.Image(shape=(4, 4, 1)),
        "label": tfds.features.ClassLabel(names=["none", "one", "two"]),
    }


class ManySizes(OfTests):
    """Images of several sizes, with other features before and after them."""

    FEATURES = {
        "group": tfds.features.ClassLabel(num_classes=2),
        "image": tfds.features.Image(shape=(None, None, 3)),
        "kind": tfds.features.ClassLabel(num_classes=2),
        "mask": tfds.features.Image(shape=(None, None, 1)),
        "weights": tfds.features.Tensor(shape=(None,), dtype=np.float32),
    }


def numbered(numbers):
    """Examples of NumberedImages."""
    return [{"image": np.full((4, 4, 1), i, np.uint8), "label": i % 3} for i in numbers]


def of_sizes(shapes):
    """Examples of ManySizes, with these H and W."""
    rng = np.random.default_rng(0)
    return [
        {
            "group": 0,
            "image": rng.integers(0, 256, (h, w, 3), np.uint8),
            "kind": 1,
            "mask": np.zeros((h, w, 1), np.uint8),
            "weights": [0.5] * h,
        }
        for h, w in shapes
    ]
