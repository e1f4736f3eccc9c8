"""What comes through tensorflow_datasets, which is given small sets or none."""

import re
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tfds_sets import prepare, prepare_mocked

import data


def test_cifar_goes_to_tfds_where_no_original_is(tmp_path, capsys):
    mocked = prepare_mocked("cifar10", tmp_path, num_examples=12)
    source = data.load("cifar", str(tmp_path), "train", labels=True)
    assert "tensorflow_datasets reads cifar10/" in capsys.readouterr().out
    assert (source.name, source.num_images, source.num_labels) == ("cifar", 12, 10)
    images = {e["image"].tobytes() for e in source.examples().as_numpy_iterator()}
    assert images == {example["image"].tobytes() for example in mocked}
    with pytest.raises(ValueError, match="image_size=16: the images of cifar are 32"):
        data.load("cifar", str(tmp_path), "train", image_size=16)


def test_images_of_another_size_are_rejected(tmp_path):
    image = {"image": np.zeros((48, 48, 3), np.uint8)}
    builder = tfds.builder("downsampled_imagenet/32x32", data_dir=str(tmp_path))
    prepare(builder, {"train": [image], "validation": [image]})
    with pytest.raises(ValueError, match=r"\[48, 48, 3\] where imagenet has .32,"):
        data.load("imagenet", str(tmp_path), "train")


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


@pytest.mark.parametrize(
    "damage, problem",
    [
        (lambda contents: contents[:-9], "ends within its record 0"),
        (lambda contents: contents[:5], "ends within its record 0"),
        (lambda contents: b"", "has 0 records, too few"),
        (lambda contents: contents[:40] + bytes(60) + contents[100:], "image|parse"),
        (None, "No such file"),
    ],
)
def test_damaged_files_are_one_line_with_the_remedy(
    prepared, tmp_path, damage, problem
):
    folder = shutil.copytree(prepared, tmp_path / "copy")
    (path,) = folder.glob("downsampled_imagenet/*/*/*-validation.*-00000-*")
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="cannot be read .*; remove that") as error:
        data.load("imagenet", str(folder), "test")
    assert re.search(problem, str(error.value))
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


def test_test_is_the_validation_split(prepared):
    source = data.load("imagenet", prepared, "test")
    assert (source.num_images, source.num_labels) == (5, None)
    assert source.examples(0).element_spec == {
        "image": tf.TensorSpec([32, 32, 3], tf.uint8)
    }
    assert sorted(int(e["image"][0, 0, 0]) for e in source.examples()) == list(range(5))
