"""CIFAR-10 from its original files, written here as the originals are."""

import hashlib
import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

import data
from data import cifar

BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
PER_BATCH = 3


def batch(number):
    """Images uint8 [N, 32, 32, 3] and labels of one of the six batches."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (PER_BATCH, 32, 32, 3), dtype=np.uint8)
    return images, [(number + i) % 10 for i in range(PER_BATCH)]


def planes(images):
    """uint8 [N, 3072]: all of red, then green, then blue."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), 3072)


def text(string):
    """Opcode for a str of Python 2."""
    return b"U" + bytes([len(string)]) + string


def python_2_pickle(images, labels):
    """The bytes that Python 2 and NumPy of its time wrote for a batch, protocol 2."""
    raw = planes(images).tobytes()
    int32 = struct.pack("<i", len(images))
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
        + (b"K\x00\x85U\x01b\x87Rq\x05(K\x01J" + int32 + b"M\x00\x0c\x86")
        + (b"cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07")
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + (b"T" + struct.pack("<i", len(raw)) + raw + b"tb")
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(text(b"%d.png" % i) for i in range(len(labels))) + b"e"
    return (
        (b"\x80\x02}q\x01(" + text(b"batch_label") + text(b"training batch 1 of 5"))
        + (text(b"labels") + numbers + text(b"data") + array)
        + (text(b"filenames") + names + b"u.")
    )


def python_3_pickle(images, labels):
    return pickle.dumps({"data": planes(images), "labels": labels}, protocol=2)


def binary(images, labels):
    records = np.concatenate([np.array(labels)[:, None], planes(images)], axis=1)
    return records.astype(np.uint8).tobytes()


def files(version, encode=None):
    """Path in the archive and contents of all batches of a version."""
    if version == "python":
        encode = encode or python_2_pickle
        return {
            f"cifar-10-batches-py/{name}": encode(*batch(i))
            for i, name in enumerate(BATCHES)
        }
    return {
        f"cifar-10-batches-bin/{name}.bin": binary(*batch(i))
        for i, name in enumerate(BATCHES)
    }


def unpacked(folder, contents):
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(folder)


@pytest.fixture
def archived(monkeypatch):
    """Writes an archive and publishes its md5."""

    def archive_files(folder, contents, version):
        """Members in another order than the batches', as in the originals."""
        folder.mkdir(exist_ok=True)
        path = folder / f"cifar-10-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in sorted(contents, reverse=True):
                member = tarfile.TarInfo(name)
                member.size = len(contents[name])
                archive.addfile(member, io.BytesIO(contents[name]))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        key = {"python": cifar.PYTHON, "binary": cifar.BINARY}[version]
        monkeypatch.setitem(cifar.MD5, key, md5)
        return str(folder)

    return archive_files


def assert_is_the_set(data_dir):
    for split, numbers in (("train", range(5)), ("test", [5])):
        source = data.load("cifar", data_dir, split, labels=True)
        examples = list(source.examples().as_numpy_iterator())
        images = np.concatenate([batch(number)[0] for number in numbers])
        labels = np.concatenate([batch(number)[1] for number in numbers])
        np.testing.assert_array_equal([e["image"] for e in examples], images)
        np.testing.assert_array_equal([e["label"] for e in examples], labels)
        assert (source.num_images, source.num_labels) == (len(images), 10)
        assert source.image_shape == (32, 32, 3)
        assert source.class_names[0] == "airplane" and source.class_names[9] == "truck"


def test_the_pickles_written_here_are_those_of_python_2():
    images, labels = batch(0)
    read = pickle.loads(python_2_pickle(images, labels), encoding="latin1")
    np.testing.assert_array_equal(read["data"], planes(images))
    assert read["labels"] == labels
    assert read["filenames"] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("version", ["python", "binary"])
def test_an_archive_is_read_where_it_lies(tmp_path, archived, version):
    data_dir = archived(tmp_path, files(version), version)
    assert_is_the_set(data_dir)
    assert os.listdir(data_dir) == [f"cifar-10-{version}.tar.gz"]


@pytest.mark.parametrize("version", ["python", "binary"])
def test_an_unpacked_archive_is_read(tmp_path, version):
    assert_is_the_set(unpacked(tmp_path, files(version)))


@pytest.mark.parametrize("version", ["python", "binary"])
def test_the_folder_of_the_batches_itself_is_read(tmp_path, version):
    contents = files(version)
    data_dir = unpacked(tmp_path, contents)
    assert_is_the_set(os.path.join(data_dir, os.path.dirname(next(iter(contents)))))


def test_the_folder_of_the_official_code_is_looked_into(tmp_path, archived):
    unpacked(tmp_path / "a" / "cifar-10-python", files("python"))
    assert_is_the_set(str(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    archived(tmp_path / "b" / "cifar-10-python", files("python"), "python")
    assert_is_the_set(str(tmp_path / "b"))


def test_pickles_rewritten_by_python_3_are_read(tmp_path):
    assert_is_the_set(unpacked(tmp_path, files("python", python_3_pickle)))


def test_labels_are_omitted_where_not_asked_for(tmp_path):
    source = data.load("cifar10", unpacked(tmp_path, files("binary")), "test")
    assert source.num_labels is None and source.class_names is None
    assert list(source.examples().element_spec) == ["image"]


def with_two_rows_too_many(images, labels):
    whole = python_2_pickle(images, labels)
    return whole.replace(b"J\x03\0\0\0", b"J\x05\0\0\0")  # 5 rows, bytes for 3.


@pytest.mark.parametrize(
    "encode, message",
    [
        (lambda images, labels: b"", "is not a batch of CIFAR-10"),
        (lambda *args: python_2_pickle(*args)[:5000], "is not a batch .*bytes"),
        (lambda images, labels: pickle.dumps([1, 2], 2), "is not a batch of CIFAR-10"),
        (lambda images, labels: pickle.dumps({"data": [0]}, 2), "is not a batch"),
        (
            lambda images, labels: python_2_pickle(images[:0], []),
            r"images are \[0, 3072",
        ),
        (with_two_rows_too_many, "cannot reshape"),
        (
            lambda images, labels: pickle.dumps(
                {"data": planes(images) / 255, "labels": labels}, 2
            ),
            "it is not of uint8",
        ),
        (
            lambda images, labels: pickle.dumps(
                {"data": planes(images)[:, :768], "labels": labels}, 2
            ),
            r"images are \[3, 768\], not",
        ),
        (
            lambda images, labels: python_2_pickle(images, [1, 2]),
            "labels are not 3 num",
        ),
        (lambda images, labels: python_2_pickle(images, [1, 2, 10]), "from 0 to 9"),
    ],
)
def test_python_batches_that_do_not_fit_are_rejected(tmp_path, encode, message):
    data_dir = unpacked(tmp_path, files("python", encode))
    with pytest.raises(ValueError, match="data_batch_1.*" + message):
        data.load("cifar", data_dir, "train", labels=True)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"images are \[0, 3072\]"),
        (bytes(3072), "size 3072"),
        (b"\x0a" + bytes(3072), "labels are not 1 numbers from 0 to 9"),
    ],
)
def test_binary_batches_that_do_not_fit_are_rejected(
    tmp_path, archived, content, message
):
    contents = files("binary")
    contents["cifar-10-batches-bin/data_batch_2.bin"] = content
    data_dir = archived(tmp_path, contents, "binary")
    with pytest.raises(ValueError, match="data_batch_2.bin.*" + message):
        data.load("cifar", data_dir, "train")
    assert data.load("cifar", data_dir, "test").num_images == PER_BATCH


def test_missing_batches_are_named(tmp_path):
    contents = files("python")
    del contents["cifar-10-batches-py/data_batch_4"]
    with pytest.raises(FileNotFoundError, match="data_batch_4 is missing"):
        data.load("cifar", unpacked(tmp_path, contents), "train")


@pytest.mark.parametrize("version", ["python", "binary"])
def test_archives_that_are_not_the_published_ones_are_rejected(tmp_path, version):
    """Whatever they hold: damage, other batches, links, endless headers."""
    path = tmp_path / f"cifar-10-{version}.tar.gz"
    for contents in (b"", b"hello", bytes(1 << 20)):
        path.write_bytes(contents)
        md5 = hashlib.md5(contents).hexdigest()
        with pytest.raises(ValueError, match=f"tar.gz has the md5 {md5} .*download it"):
            data.load("cifar", str(tmp_path), "train")
    assert os.listdir(tmp_path) == [path.name]


def test_md5_are_the_published_ones():
    assert cifar.MD5["cifar-10-batches-py"] == "c58f30108f718f92721af3b95e74349a"
    assert cifar.MD5["cifar-10-batches-bin"] == "c32a1d4ab5d03f1284b67883e8d87530"


def test_batches_far_larger_than_the_original_are_not_read(tmp_path):
    with open(tmp_path / "test_batch.bin", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="test_batch.bin has 1099511627776 bytes"):
        data.load("cifar", str(tmp_path), "test")


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "cifar-10-python.tar.gz")
    with pytest.raises(ValueError, match="tar.gz is neither a file nor a folder"):
        data.load("cifar", str(tmp_path), "test")


def test_the_archive_itself_is_no_data_dir(tmp_path, archived):
    data_dir = archived(tmp_path, files("python"), "python")
    path = os.path.join(data_dir, "cifar-10-python.tar.gz")
    with pytest.raises(NotADirectoryError, match="give the folder that it lies in"):
        data.load("cifar", path, "train")


def test_another_image_size_is_rejected(tmp_path):
    data_dir = unpacked(tmp_path, files("binary"))
    assert data.load("cifar", data_dir, "test", image_size=32).num_images == PER_BATCH
    with pytest.raises(
        ValueError, match="image_size=16: the images of cifar are 32×32"
    ):
        data.load("cifar", data_dir, "test", image_size=16)
