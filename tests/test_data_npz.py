"""One .npz file: what it gives, and how each fault in it is named."""

import os
import pickle
import resource
import struct
import zipfile

import numpy as np
import pytest

import data
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training.run import check_image_sets

IMAGES = 200 + np.arange(4 * 2 * 3 * 2, dtype=np.uint8).reshape(4, 2, 3, 2)
GOOD = {
    "train_images": IMAGES,
    "test_images": IMAGES[::-1],
    "train_labels": np.array([0, 2, 1, 0]),
    "test_labels": np.array([0, 5, 1, 1], np.uint8),
}


def write(tmp_path, without=(), compressed=False, **arrays):
    path = str(tmp_path / "images.npz")
    arrays = {k: v for k, v in {**GOOD, **arrays}.items() if k not in without}
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def read(source):
    examples = list(source.examples().as_numpy_iterator())
    return {
        key: np.stack([example[key] for example in examples]) for key in examples[0]
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_images_and_labels_come_as_they_are_stored(tmp_path, compressed):
    source = data.load(
        "npz", write(tmp_path, compressed=compressed), "test", labels=True
    )
    examples = read(source)
    np.testing.assert_array_equal(examples["image"], IMAGES[::-1])
    np.testing.assert_array_equal(examples["label"], [0, 5, 1, 1])
    assert (source.image_shape, source.num_images) == ((2, 3, 2), 4)


def test_labels_are_counted_over_both_splits(tmp_path):
    assert data.load("npz", write(tmp_path), "train", labels=True).num_labels == 6


def test_labels_are_omitted_where_not_asked_for(tmp_path):
    source = data.load("npz", write(tmp_path), "train")
    assert source.num_labels is None and source.class_names is None
    assert list(read(source)) == ["image"]


def test_class_names_are_those_of_the_file_or_the_numbers(tmp_path):
    source = data.load("npz", write(tmp_path), "train", labels=True)
    assert source.class_names == ("0", "1", "2", "3", "4", "5")
    names = np.array(["cat", "dog", "e\u0301t\u00e9", "owl", "fox", "bee", "ant"])
    source = data.load("npz", write(tmp_path, class_names=names), "test", labels=True)
    assert source.class_names[2] == "\u00e9t\u00e9"
    assert (source.num_labels, source.class_names[6]) == (7, "ant")


def test_labels_without_training_images_are_named_in_one_line(tmp_path, caplog):
    path = write(tmp_path)
    data.load("npz", path, "test", labels=True)
    assert not caplog.records
    data.load("npz", path, "train", labels=True)
    (record,) = caplog.records
    message = record.getMessage()
    assert message.endswith("no training image has label 3, 4, 5 of 0 … 5.")


def test_no_gap_is_no_line(npz_path, caplog):
    data.load("npz", npz_path, "train", labels=True)
    assert not caplog.records


def test_arrays_in_column_order_are_read_alike(tmp_path):
    path = write(tmp_path, train_images=np.asfortranarray(IMAGES))
    np.testing.assert_array_equal(
        read(data.load("npz", path, "train"))["image"], IMAGES
    )


def test_a_file_with_one_split_gives_that_split(tmp_path):
    path = write(tmp_path, without=("train_images", "train_labels"))
    assert data.load("npz", path, "test", labels=True).num_labels == 6


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"train_images": IMAGES / 255}, "train_images is float64 where images are"),
        ({"train_images": IMAGES * np.nan}, "train_images is float64 where images are"),
        ({"train_images": IMAGES[0, 0]}, r"train_images has shape \[3, 2\] where"),
        ({"train_images": IMAGES[:0]}, "it holds no images"),
        ({"train_images": np.array([None])}, "train_images is object where images"),
        ({"train_labels": np.arange(3)}, "3 labels for 4 images"),
        ({"train_labels": np.array([0, 1, -1, 0])}, "train_labels holds -1"),
        ({"test_labels": np.array([0, 1, 2**40, 0])}, "label 1099511627776 in a file"),
        ({"train_labels": np.array([0, 1, 2**31 - 2, 0])}, "label 2147483646 in a fi"),
        ({"train_labels": np.array([0, 1, 3_000_000, 0])}, "of 8 images; number the"),
        ({"train_labels": np.array([2**64 - 1] * 4, np.uint64)}, f"label {2**64 - 1} "),
        ({"train_labels": np.array([0, 1, 1000, 0])}, "label 1000 .* class_names="),
        ({"class_names": np.arange(6)}, "class_names is int64 where class_names is te"),
        ({"class_names": np.array("a")}, r"class_names has shape \[\] where"),
        ({"class_names": np.array(list("abcde"))}, "has 5 different names where the h"),
        ({"class_names": np.array(list("abcdea"))}, "has 5 different names where the"),
        ({"class_names": np.array(["a"] * 6, object)}, "class_names is object where"),
        ({"train_labels": np.zeros(4)}, "train_labels is float64 where"),
        ({"train_labels": np.full(4, np.nan)}, "train_labels is float64 where"),
        ({"train_labels": np.zeros(4, bool)}, "train_labels is bool where"),
        ({"train_labels": np.zeros((4, 1), int)}, r"has shape \[4, 1\] where"),
        ({"train_labels": np.array([0, 1, 2, None])}, "train_labels is object where"),
    ],
)
def test_arrays_that_do_not_fit_are_rejected(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message) as error:
        data.load("npz", write(tmp_path, **arrays), "train", labels=True)
    assert "\n" not in str(error.value)


def test_splits_of_two_shapes_are_read_and_not_trained_on(tmp_path):
    path = write(tmp_path, test_images=IMAGES[:, :1])
    train, test = (data.load("npz", path, split) for split in data.SPLITS)
    config = Config.of(batch_size=1, init_batch_size=1)
    with pytest.raises(ValueError, match=r"\(1, 3, 2\): must have .* \(2, 3, 2\)"):
        check_image_sets(config, train, test, replicas=1)


def test_missing_arrays_are_named_with_those_found(tmp_path):
    path = write(tmp_path, without=("train_images", "train_labels"))
    with pytest.raises(ValueError, match="no train_images .it has test_images, test_l"):
        data.load("npz", path, "train")
    path = write(tmp_path, without=("train_labels", "test_labels"))
    with pytest.raises(ValueError, match="has no train_labels"):
        data.load("npz", path, "train", labels=True)


def test_files_that_are_no_npz_are_rejected(tmp_path):
    text = tmp_path / "text.npz"
    text.write_text("hello")
    array = tmp_path / "array.npy"
    np.save(array, IMAGES)
    empty = tmp_path / "empty.npz"
    empty.touch()
    for path in (text, array, empty, tmp_path):
        with pytest.raises(ValueError, match=path.name):
            data.load("npz", str(path), "train")
    with pytest.raises(FileNotFoundError, match="no such file"):
        data.load("npz", str(tmp_path / "none.npz"), "train")
    with pytest.raises(ValueError, match="npz needs data_dir; give it, for example"):
        data.load("npz", None, "train")


def test_truncated_and_altered_files_are_rejected(tmp_path):
    path = write(tmp_path)
    with open(path, "rb") as file:
        whole = file.read()
    for contents in (
        whole[: len(whole) // 2],
        flip(whole, whole.index(IMAGES.tobytes())),
    ):
        with open(path, "wb") as file:
            file.write(contents)
        with pytest.raises(ValueError, match="is not a whole .npz file|cannot be read"):
            data.load("npz", path, "train")


def flip(contents, position):
    altered = bytearray(contents)
    altered[position] ^= 0xFF
    return bytes(altered)


def test_another_image_size_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="image_size=16: the images of npz are 2×3"):
        data.load("npz", write(tmp_path), "train", image_size=16)


class Malicious:
    """Unpickled, it makes the folder `marker`."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize(
    "key", ["train_images", "train_labels", "other", "test_images"]
)
def test_pickled_objects_are_rejected_where_needed_and_never_run(tmp_path, key):
    marker = str(tmp_path / "marker")
    path = write(tmp_path, **{key: np.array([Malicious(marker)] * 4)})
    if key in ("other", "test_images"):
        data.load("npz", path, "train", labels=True)
    else:
        with pytest.raises(ValueError, match=f"{key} is object where"):
            data.load("npz", path, "train", labels=True)
    assert not os.path.exists(marker)
    np.load(path, allow_pickle=True)[key]
    assert os.path.exists(marker)


def test_a_pickle_in_place_of_the_file_or_of_an_array_is_rejected(tmp_path):
    marker = str(tmp_path / "marker")
    path = tmp_path / "it.npz"
    path.write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(ValueError, match="it.npz: is not a whole .npz file"):
        data.load("npz", str(path), "train")
    path = members(tmp_path, {"train_images.npy": pickle.dumps(Malicious(marker))})
    with pytest.raises(ValueError, match="train_images cannot be read"):
        data.load("npz", path, "train")
    assert not os.path.exists(marker)


def members(tmp_path, contents, kind=zipfile.ZIP_STORED):
    path = str(tmp_path / "images.npz")
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return path


def npy(header, content=b"", version=1):
    head = b"\x93NUMPY" + bytes([version, 0])
    return head + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + content


def header(shape, descr="'|u1'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "content",
    [
        npy(header("(1000000000000, 2, 2, 3)"), b"abc"),
        npy(header("(5, 2, 2, 3)"), bytes(48)),
        npy(header("(4, 2, 2, 3)"), bytes(49)),
        npy(header("(-1, 2, 2, 3)"), bytes(48)),
        npy(header(f"(4, 2, 2, {2**70})")),
        npy(header(f"({'9' * 4000}, 2, 2, 3)")),
        npy(header("(4, 2, 2, 3)", "None")),
        npy(header("(4, 2, 2, 3)", "[1, 2]")),
        npy(header("(4, 2, 2, 3)"), bytes(48), version=9),
        npy("{'descr': '|u1', 'shape': (((("),
        npy("  {\n 1:\n3L"),
        npy("-" * 9000 + "1"),
        npy("(" * 5000 + ")" * 5000),
        npy("{1: 2, 'a': 3, None: 4}"),
        npy("__import__('os').mkdir('marker')"),
        b"",
    ],
)
def test_headers_that_are_false_are_rejected(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = members(tmp_path, {"train_images.npy": content})
    with pytest.raises(ValueError, match="train_images cannot be read") as error:
        data.load("npz", path, "train")
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["images.npz"]


@pytest.mark.parametrize(
    "key, content",
    [
        ("train_images", npy(header("(10000000000, 2, 2, 1)"), bytes(99))),
        ("class_names", npy(header("(10000000000,)", "'<U0'"))),
    ],
)
def test_a_false_shape_takes_no_memory(tmp_path, key, content):
    images = npy(header("(4, 2, 3, 2)"), IMAGES.tobytes())
    labels = npy(header("(4,)"), bytes(4))
    arrays = {"train_images": images, "train_labels": labels, key: content}
    path = members(tmp_path, {f"{name}.npy": array for name, array in arrays.items()})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=f"{key} cannot be read"):
        data.load("npz", path, "train", labels=True)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100_000  # kB


@pytest.mark.parametrize(
    "key, found, reason",
    [
        ("train_images", header("(9, 2, 3, 2)", "'<f8'"), "is float64 where images"),
        ("train_labels", header("(9, 9)"), r"has shape \[9, 9\] where labels"),
        ("num_levels", header("(9,)"), r"has shape \[9\] where num_levels is one"),
    ],
)
def test_a_wrong_header_needs_no_data_to_be_rejected(tmp_path, key, found, reason):
    good = {"train_images.npy": npy(header("(4, 2, 3, 2)"), IMAGES.tobytes())}
    path = members(tmp_path, good | {f"{key}.npy": npy(found)})
    with pytest.raises(ValueError, match=f"{key} {reason}"):
        data.load("npz", path, "train", labels=key == "train_labels")


def test_a_member_beside_the_array_of_its_name_is_not_taken_for_it(tmp_path):
    content = npy(header("(4, 2, 3, 2)"), IMAGES.tobytes())
    path = members(tmp_path, {"train_images": b"?", "train_images.npy": content})
    images = read(data.load("npz", path, "train"))["image"]
    np.testing.assert_array_equal(images, IMAGES)


def test_spans_of_time_are_no_labels(tmp_path):
    labels = np.zeros(len(IMAGES), "m8[s]")
    np.savez(tmp_path / "a.npz", train_images=IMAGES, train_labels=labels)
    with pytest.raises(ValueError, match="train_labels is timedelta64"):
        data.load("npz", str(tmp_path / "a.npz"), "train", labels=True)


def test_an_array_that_is_there_twice_is_rejected(tmp_path):
    path = members(tmp_path, {"train_images.npy": npy(header("(4, 2, 3, 2)"))})
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Dupl"):
        file.writestr("train_images.npy", b"another")
    with pytest.raises(ValueError, match="has 2 arrays train_images"):
        data.load("npz", path, "train")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_numpy_does_not_write_are_rejected(tmp_path, kind):
    content = npy(header("(4, 2, 3, 2)"), IMAGES.tobytes())
    path = members(tmp_path, {"train_images.npy": content}, kind)
    with pytest.raises(ValueError, match="train_images cannot be read .NumPy comp"):
        data.load("npz", path, "train")


def test_names_in_a_file_are_shown_in_one_line(tmp_path):
    path = members(tmp_path, {"a\nb.npy": b"", "c.npy": b""})
    with pytest.raises(ValueError, match=r"it has 'a\\nb', c\)"):
        data.load("npz", path, "train")


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "it.npz")
    with pytest.raises(ValueError, match="it.npz is no file"):
        data.load("npz", str(tmp_path / "it.npz"), "train")
