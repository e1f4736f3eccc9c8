"""What comes through tensorflow_datasets, which is given small sets or none."""

import shutil
import tarfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import data
from data import imagenet


def test_cifar_goes_to_tfds_where_no_original_is(tmp_path, capsys):
    with tfds.testing.mock_data(num_examples=12):
        source = data.load("cifar", str(tmp_path), "train", labels=True)
    examples = list(source.examples().as_numpy_iterator())
    assert "tensorflow_datasets prepares" in capsys.readouterr().out
    assert (source.num_images, source.num_labels, len(examples)) == (12, 10, 12)
    assert source.image_shape == (32, 32, 3) == examples[0]["image"].shape
    assert all(0 <= example["label"] < 10 for example in examples)


@pytest.mark.parametrize("name, size", [("imagenet", 32), ("imagenet64", 64)])
def test_images_of_another_size_are_rejected(name, size):
    def as_dataset(self, *args, **kwargs):
        return tf.data.Dataset.from_tensors({"image": tf.zeros((48, 48, 3), tf.uint8)})

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        with pytest.raises(
            ValueError, match=rf"\[48, 48, 3\] where {name} has .{size},"
        ):
            data.load(name, None, "train")


def test_a_number_that_metadata_do_not_say_is_counted():
    def as_dataset(self, *args, **kwargs):
        images = tf.data.Dataset.from_tensors(
            {"image": tf.zeros((32, 32, 3), tf.uint8)}
        )
        return images.repeat(7).filter(lambda example: True)

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        source = data.load("imagenet32", None, "test")
        assert (source.num_images, len(list(source.examples()))) == (7, 7)


def test_imagenet_has_no_labels_and_its_own_size():
    with pytest.raises(
        ValueError, match="We currently don't have labels for the small"
    ):
        data.load("imagenet", None, "train", labels=True)
    with pytest.raises(ValueError, match="image_size=32: the images of imagenet64 are"):
        data.load("imagenet64", None, "train", image_size=32)


def test_a_failed_download_is_one_line_with_the_remedy(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route\nto host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    for name, remedy in (
        ("imagenet", "put train_32x32.tar"),
        ("cifar", "cifar-10-pyt"),
    ):
        with pytest.raises(FileNotFoundError, match=f"no route.*{remedy}") as error:
            data.load(name, str(tmp_path), "train")
        assert "\n" not in str(error.value)


def test_damaged_files_are_one_line_with_the_remedy(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "copy")
    for path in folder.glob("downsampled_imagenet/32x32/*/*-validation.*"):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="cannot be read .*; remove that") as error:
        data.load("imagenet", str(folder), "test")
    assert "\n" not in str(error.value)


NUM = 60


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """downsampled_imagenet/32x32 prepared from tars of our own, in several files.

    Image i has i for its first value.
    """
    folder = tmp_path_factory.mktemp("imagenet") / "a[1]*? \\ ä"
    folder.mkdir()
    tars = []
    for part, num in (("train", NUM), ("valid", 5)):
        for i in range(num):
            image = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
            image[0, 0, 0] = i
            tf.io.write_file(f"{folder}/{part}/{i}.png", tf.io.encode_png(image))
        tars.append(folder / f"{part}_32x32.tar")
        with tarfile.open(tars[-1], "w") as archive:
            archive.add(folder / part, part)
    with pytest.MonkeyPatch.context() as patch:
        # Their checksums are not those of the real ones.
        patch.setattr(tfds.download.DownloadManager, "download", lambda *args: tars)
        builder = tfds.builder("downsampled_imagenet/32x32", data_dir=str(folder))
        config = tfds.download.DownloadConfig(num_shards=4)
        builder.download_and_prepare(download_config=config)
    assert builder.info.splits["train"].num_shards == 4
    return str(folder)


def first_values(source, *args):
    images = [example["image"] for example in source.examples(*args)]
    return [int(image[0, 0, 0]) for image in images]


def test_test_is_the_validation_split(prepared):
    source = data.load("imagenet", prepared, "test")
    assert (source.num_images, source.num_labels) == (5, None)
    assert source.examples(0).element_spec == {
        "image": tf.TensorSpec([32, 32, 3], tf.uint8)
    }
    assert sorted(first_values(source)) == list(range(5))


def test_an_order_follows_from_seed_and_epoch_alone(prepared, monkeypatch):
    monkeypatch.setattr(imagenet, "SHUFFLED", 16)
    source = data.load("imagenet", prepared, "train")
    tf.random.set_seed(1)
    first = first_values(source, 3, 5)
    tf.random.set_seed(2)
    assert first_values(source, 3, 5) == first
    assert sorted(first) == list(range(NUM))
    others = [
        first_values(source),
        first_values(source, 4, 5),
        first_values(source, 3, 6),
    ]
    assert first not in others


@pytest.mark.parametrize("epoch", [None, 2])
@pytest.mark.parametrize("start", [0, 5, 16, 37, NUM])
def test_start_equals_skip(prepared, monkeypatch, epoch, start):
    monkeypatch.setattr(imagenet, "SHUFFLED", 16)
    source = data.load("imagenet", prepared, "train")
    assert (
        first_values(source, epoch, 1, start) == first_values(source, epoch, 1)[start:]
    )
    assert int(source.examples(epoch, 1, start).cardinality()) == NUM - start
