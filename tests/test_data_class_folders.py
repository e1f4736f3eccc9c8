"""Folders of classes: their names and order, links, and what is skipped."""

import inspect
import os
import sys
import time
import unicodedata

import numpy as np
import pytest
from image_bytes import GREY, png
from test_data_bad_images import BAD, GOOD

import data
from data import image_file
from data.image_tree import find_images


def grey(level):
    return png(2, 1, 8, GREY, bytes([0, level, 255]))


def write(root, *files):
    """Image i, whose first pixel is of level i, for each path."""
    for i, file in enumerate(files):
        path = os.path.join(root, file)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as image:
            image.write(grey(i))
    return str(root)


def levels(source, *args):
    """Level and label of each image."""
    examples = source.examples(*args).as_numpy_iterator()
    return [(int(e["image"].flat[0]), int(e.get("label", -1))) for e in examples]


def message_of(caplog):
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    return record.getMessage()


def test_class_names_are_those_of_the_folders_sorted(tmp_path):
    root = write(tmp_path, "train/b/0.png", "train/a/x/1.png", "test/b/2.png")
    for split, expected in (("train", [(1, 0), (0, 1)]), ("test", [(2, 1)])):
        source = data.load("folder", root, split, labels=True)
        assert source.class_names == ("a", "b")
        assert levels(source) == expected
    assert data.load("folder", root, "train").class_names is None


def test_numbers_are_sorted_as_numbers(tmp_path):
    root = write(tmp_path, *(f"train/{i}/it.png" for i in range(12)))
    source = data.load("folder", root, "train", labels=True)
    assert source.class_names == tuple(map(str, range(12)))
    assert sorted(levels(source)) == [(i, i) for i in range(12)]
    write(tmp_path, "train/x/0.png")
    source = data.load("folder", root, "train", labels=True)
    assert source.class_names[:4] == ("0", "1", "10", "11")


def test_labels_of_test_follow_from_the_names_of_train(tmp_path):
    """Also where the names differ in their Unicode form, even within a split."""
    train, test = (unicodedata.normalize(form, "caf\xe9") for form in ("NFD", "NFC"))
    assert train != test
    files = f"train/{train}/1.png", f"test/{test}/2.png", f"train/{test}/3.png"
    root = write(tmp_path, "train/a/0.png", *files)
    for split, expected in (("train", [(0, 0), (1, 1), (3, 1)]), ("test", [(2, 1)])):
        source = data.load("folder", root, split, labels=True)
        assert source.class_names == ("a", test)
        assert levels(source) == expected
    assert data.has_labels("folder", root, "test")


def test_labels_need_every_image_in_a_class_of_train(tmp_path):
    root = write(tmp_path, "train/a/0.png", "train/b/1.png", "test/c/2.png")
    with pytest.raises(ValueError, match="train has no class 'c' .it has a, b"):
        data.load("folder", root, "test", labels=True)
    assert not data.has_labels("folder", root, "test")
    write(tmp_path, "train/3.png")
    with pytest.raises(ValueError, match="3.png lies in no class folder"):
        data.load("folder", root, "train", labels=True)
    assert data.load("folder", root, "train").num_images == 3


NOT_CLASSES = [
    "__MACOSX",
    "@eaDir",
    "@__thumb",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "LOST+FOUND",
    "FOUND.000",
    "$Recycle.Bin",
    "RECYCLER",
    "#Recycle",
    "~snapshot",
    "__macosx",
    "_gsdata_",
    "Network Trash Folder",
    "Temporary Items",
    "__pycache__",
    ".thumbnails",
    ".ipynb_checkpoints",
]


@pytest.mark.parametrize("name", NOT_CLASSES)
def test_folders_of_systems_are_no_classes_at_any_depth(tmp_path, caplog, name):
    root = write(
        tmp_path,
        "train/a/0.png",
        "train/b/1.png",
        f"train/{name}/2.png",
        f"train/{name}/a/3.png",
        f"train/a/{name}/4.png",
    )
    source = data.load("folder", root, "train", labels=True)
    assert source.class_names == ("a", "b")
    assert levels(source) == [(0, 0), (1, 1)]
    assert message_of(caplog).endswith(f"train: skipped 2 folders {name}.")


def test_what_is_skipped_is_counted_in_one_line(tmp_path, caplog):
    root = write(
        tmp_path,
        "train/a/0.png",
        "train/a/1.heic",
        "train/a/2.heic",
        "train/a/3.JPEG2000",
        "train/a/._0.png",
        "train/a/notes",
        "train/a/.DS_Store",
        "train/empty/deeper/.keep",
    )
    source = data.load("folder", root, "train", labels=True)
    assert source.class_names == ("a",)
    assert message_of(caplog).endswith(
        "train: skipped 2 .heic files, 1 .jpeg2000 files, 1 folders without images, "
        "1 hidden images, 1 other files."
    )


def test_many_kinds_of_skipped_files_make_a_short_line(tmp_path, caplog):
    files = (f"train/a/it.x{i}" for i in range(50))
    root = write(tmp_path, "train/a/0.png", *files, "train/a/new\nline.x\ny")
    data.load("folder", root, "train")
    assert message_of(caplog).endswith(", 43 others.")


@pytest.mark.parametrize("files", [["a/0.png"], ["a/0.png", "a/.DS_Store", ".git"]])
def test_nothing_is_reported_where_no_image_is_skipped(tmp_path, caplog, files):
    root = write(tmp_path, *(f"train/{file}" for file in files))
    data.load("folder", root, "train", labels=True)
    assert not caplog.records


def test_linked_class_folders_are_followed(tmp_path, caplog):
    root = write(tmp_path, "train/a/0.png", "elsewhere/b/1.png", "elsewhere/c/2.png")
    os.symlink(tmp_path / "elsewhere" / "b", tmp_path / "train" / "b")
    os.symlink("../../elsewhere", tmp_path / "train" / "a" / "deep")
    source = data.load("folder", root, "train", labels=True)
    assert source.class_names == ("a", "b")
    assert levels(source) == [(0, 0), (2, 0), (1, 1)]
    assert "skipped 1 links to folders that are read already." in message_of(caplog)


def test_loops_of_links_end_and_no_image_is_read_twice(tmp_path, caplog):
    root = write(tmp_path, "train/b/0.png", "train/c/1.png")
    train = tmp_path / "train"
    for i in range(40):  # 2⁴⁰ paths lead through them.
        (train / "c" / str(i)).mkdir()
        for name in "xy":
            os.symlink(train / "c" / str(i + 1), train / "c" / str(i) / name)
    os.symlink(train, train / "b" / "loop")
    os.symlink(train / "b", train / "a")  # Read as b, though a is before it.
    os.symlink("self", train / "self")
    source = data.load("folder", root, "train", labels=True)
    assert source.class_names == ("b", "c")
    assert levels(source) == [(0, 0), (1, 1)]
    assert "80 links to folders that are read already" in message_of(caplog)


def test_broken_links_and_pipes_are_bad_images(tmp_path, caplog):
    root = write(tmp_path, "train/0.png")
    train = tmp_path / "train"
    os.symlink("1.png", train / "1.png")
    os.symlink("nothing", train / "2.png")
    os.mkfifo(train / "3.png")
    os.symlink("/dev/zero", train / "4.png")
    source = data.load("folder", root, "train", skip_bad_images=True)
    assert source.num_images == 1
    assert "4 of 5 images" in caplog.text
    assert "1.png cannot be opened, Too many levels of symbolic links" in caplog.text
    assert "2.png cannot be opened, No such file" in caplog.text
    assert "3.png is no regular file" in caplog.text
    with pytest.raises(ValueError, match="1.png cannot be opened, Too many"):
        data.load("folder", root, "train")


@pytest.fixture
def mixed(tmp_path):
    """Two classes of good files, numbered in their order, among all bad ones."""
    bad = [contents for contents, _ in BAD.values()]
    for i in range(60):
        name = "ab"[i // 30]
        for split in ("train", "test"):
            path = tmp_path / split / name / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bad[i // 2 % len(bad)] if i % 2 else grey(i))
    return str(tmp_path)


def test_bad_files_are_skipped_and_the_order_is_that_of_the_others(mixed):
    source = data.load("folder", mixed, "train", labels=True, skip_bad_images=True)
    assert (source.num_images, source.num_labels) == (30, 2)
    assert levels(source) == [(i, i // 30) for i in range(0, 60, 2)]
    order = np.random.default_rng([5, 3]).permutation(30)
    assert levels(source, 3, 5, 7) == [(2 * i, i // 15) for i in order[7:]]


def test_bad_files_are_counted_and_the_first_named_in_one_line(mixed, caplog):
    data.load("folder", mixed, "train", skip_bad_images=True)
    line = message_of(caplog)
    assert "train: 30 of 60 images are skipped: a/01.png is empty; a/03.png " in line
    assert line.count(".png") == 3 and line.endswith("; …")


def test_a_folder_of_bad_files_alone_is_rejected(tmp_path):
    root = write(tmp_path, "train/a/0.png", "train/a/1.png", "train/b/2.png")
    for name in ("a/0", "a/1"):
        (tmp_path / "train" / f"{name}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="no image of class 'a' can be read; remove"):
        data.load("folder", root, "train", labels=True, skip_bad_images=True)
    assert data.load("folder", root, "train", skip_bad_images=True).num_images == 1
    (tmp_path / "train" / "b" / "2.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match="none of its 3 images can be read .a/0.png is"
    ):
        data.load("folder", root, "train", skip_bad_images=True)


@pytest.mark.parametrize("name", sorted(set(data.NAMES) - {"folder"}))
def test_other_sets_have_no_images_to_skip(name):
    with pytest.raises(ValueError, match=f"{name} does not take it, only folder"):
        data.load(name, None, "train", skip_bad_images=True)


def test_a_failing_disk_makes_no_bad_image(tmp_path, monkeypatch):
    """Tomorrow the file may be there, and the images would have another order."""

    def fail(path, count_rows):
        raise OSError(5, "Input/output error", path)

    root = write(tmp_path, "train/it.png")
    monkeypatch.setattr(image_file, "read", fail)
    with pytest.raises(OSError, match="Input/output error: .*it.png"):
        data.load("folder", root, "train", skip_bad_images=True)


def test_names_of_any_bytes_are_named_in_one_line(tmp_path):
    train = os.fsencode(tmp_path / "train")
    os.mkdir(train)
    for name in (b"\xff.png", b"new\nline.png", "ä.png".encode()):
        with open(os.path.join(train, name), "wb") as file:
            file.write(GOOD)
    assert len(levels(data.load("folder", str(tmp_path), "train"))) == 3
    with open(os.path.join(train, b"new\nline.png"), "wb"):
        pass
    for labels, reason in ((False, "is empty"), (True, "lies in no")):
        with pytest.raises(ValueError, match=rf"new\\nline.png' {reason}") as error:
            data.load("folder", str(tmp_path), "train", labels=labels)
        assert "\n" not in str(error.value)


def test_folders_in_folders_are_read_to_any_depth(tmp_path):
    deepest = tmp_path.joinpath(*"d" * 100)
    deepest.mkdir(parents=True)
    (deepest / "it.png").write_bytes(GOOD)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 50)
    try:
        files, _ = find_images(str(tmp_path))
    finally:
        sys.setrecursionlimit(limit)
    assert files == ["d/" * 100 + "it.png"]


def test_thousands_of_files_are_found_in_half_a_second(tmp_path):
    for name in range(10):
        (tmp_path / str(name)).mkdir()
        for i in range(300):
            os.mknod(tmp_path / str(name) / f"{i:04}.png")
    start = time.process_time()
    files, _ = find_images(str(tmp_path))
    assert time.process_time() - start < 0.5
    assert len(files) == 3000
    assert files == sorted(files)
