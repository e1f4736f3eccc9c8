"""What is given for data_dir, image_size and data set: wrong ones are named at once."""

import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_bytes import GREY, png

import data

IMAGE = png(1, 1, 8, GREY, b"\0\7")
TFDS_SETS = ("cifar", "imagenet", "imagenet64", "mnist", "tfds:emnist/letters")


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("a download was started")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)


def write(root, *files):
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(IMAGE)
    return str(root)


def error_of(*args, **kwargs):
    with pytest.raises((ValueError, OSError)) as error:
        data.load(*args, **kwargs)
    assert str(error.value) and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", data.NAMES)
@pytest.mark.parametrize(
    "address",
    ["gs://bucket/a", "s3://bucket", "http://a.b/c.npz", "https://x", "file:///tmp"],
)
def test_addresses_are_rejected(name, address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = error_of(name, address, "train")
    assert f"data_dir={address} is an address" in message
    assert "for example data_dir=/tmp/images" in message
    with pytest.raises(ValueError, match="is an address"):
        data.has_labels(name, address, "train")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", TFDS_SETS)
@pytest.mark.parametrize(
    "files, remedy",
    [
        (["train/a/0.png", "test/a/0.png"], "-d folder -i {}."),
        (["train/0.tfrecord"], "-d folder -i {}."),
        (["0.JPG"], "-d folder -i {} (and --test_share=0.1 to train)."),
        (["cats/0.webp"], "-d folder -i {} (and --test_share=0.1 to train)."),
        (["a.npz", "b.txt"], "-d npz -i {}/a.npz."),
    ],
)
def test_nothing_is_downloaded_beside_images(tmp_path, name, files, remedy):
    root = write(tmp_path / "pictures", *files)
    before = sorted(os.walk(root))
    message = error_of(name, root, "train")
    assert f"data_dir={root} has no files of this data set" in message
    assert message.endswith("give " + remedy.format(root))
    assert sorted(os.walk(root)) == before


@pytest.mark.parametrize("name", TFDS_SETS)
def test_a_split_and_a_file_in_place_of_the_folder_are_named(tmp_path, name):
    root = write(tmp_path, "train/a/0.png", "x.npz", "y.txt")
    train = os.path.join(root, "train")
    assert error_of(name, train, "train").endswith(f"give -d folder -i {root}.")
    path = os.path.join(root, "x.npz")
    assert error_of(name, path, "train").endswith(f"give -d npz -i {path}.")
    path = os.path.join(root, "y.txt")
    assert "is a file; give the folder that it lies in" in error_of(name, path, "train")


def test_folder_and_npz_name_one_another(tmp_path):
    root = write(tmp_path, "train/a/0.png")
    np.savez(tmp_path / "x.npz", train_images=np.zeros((2, 8, 8, 3), np.uint8))
    assert f"; try -d folder -i {root}." in error_of("npz", root, "train")
    path = str(tmp_path / "x.npz")
    assert f"there; try -d npz -i {path}." in error_of("folder", path, "train")
    message = error_of("folder", os.path.join(root, "train"), "train")
    assert f"there; try -d folder -i {root}." in message


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "a\\b", "a b", "{0}%s", "ä"])
def test_npz_and_cifar_are_read_below_any_name(tmp_path, name):
    (tmp_path / name).mkdir()
    path = tmp_path / name / "x.npz"
    np.savez(path, train_images=np.full((2, 8, 8, 3), 7, np.uint8))
    assert data.load("npz", str(path), "train").num_images == 2
    record = bytes([3]) + bytes(3072)
    (tmp_path / name / "test_batch.bin").write_bytes(record * 5)
    assert data.load("cifar", str(tmp_path / name), "test").num_images == 5


def test_names_that_are_not_utf_8_are_read_or_rejected_in_one_line(tmp_path):
    root = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(root)
    np.savez(f"{root}/x.npz", train_images=np.full((2, 8, 8, 3), 7, np.uint8))
    assert data.load("npz", f"{root}/x.npz", "train").num_images == 2
    os.mkdir(f"{root}/empty")
    for name in TFDS_SETS:
        message = error_of(name, f"{root}/empty", "train")
        assert "needs a name in UTF-8" in message and message.isprintable()
    for name in ("npz", "folder"):
        assert error_of(name, f"{root}/gone", "train").isprintable()


@pytest.mark.parametrize("name", data.NAMES)
@pytest.mark.parametrize("size", [0, -1, 8193, 2**31, 2**63, 10**30, 8.0, "8"])
def test_sizes_that_no_image_has_are_rejected(name, size):
    message = error_of(name, None, "train", image_size=size)
    assert message == f"image_size={size!r}: must be an integer from 1 to 8192."


@pytest.mark.parametrize("number", [2**31, 2**63, 2**64, 10**30])
def test_orders_of_any_seed_and_epoch_exist(number):
    source = data.load("shapes", None, "test", image_size=8)
    assert next(iter(source.examples(number, number)))["image"].shape == (8, 8, 3)
    with pytest.raises(ValueError, match=f"start={number}: shapes test has 1000"):
        source.examples(start=number)


def test_class_names_of_the_sets_that_have_their_own(tmp_path):
    shapes = data.load("shapes", None, "train", labels=True)
    assert shapes.class_names == ("disc", "square", "triangle", "ring", "cross")
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073))
    cifar = data.load("cifar", str(tmp_path), "test", labels=True)
    assert cifar.class_names == tuple(
        "airplane automobile bird cat deer dog frog horse ship truck".split()
    )
    for name, data_dir in (("shapes", None), ("cifar", str(tmp_path))):
        assert data.load(name, data_dir, "test").class_names is None
