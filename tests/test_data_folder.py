"""Folders of image files."""

import os
import re

import numpy as np
import pytest
import tensorflow as tf
from image_bytes import BLACK, RED, bmp, gif

import data


def picture(seed, h=4, w=6, channels=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (h, w, channels), dtype=np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    encode = tf.io.encode_jpeg if jpeg else tf.io.encode_png
    path.write_bytes(encode(image).numpy())
    return image


def read(source, *args):
    return list(source.examples(*args).as_numpy_iterator())


@pytest.fixture
def classes(tmp_path):
    """Two classes, one image of train in a folder further down."""
    images = {
        name: write(tmp_path / name, picture(i))
        for i, name in enumerate(
            ("train/b/0.png", "train/a/deep/2.PNG", "train/a/1.png", "test/b/3.png")
        )
    }
    return str(tmp_path), images


def test_images_come_sorted_by_path_with_their_folders_as_labels(classes):
    root, images = classes
    source = data.load("folder", root, "train", labels=True)
    assert (source.num_images, source.num_labels) == (3, 2)
    assert source.image_shape == (4, 6, 3)
    names = ["train/a/1.png", "train/a/deep/2.PNG", "train/b/0.png"]
    for name, label, example in zip(names, [0, 0, 1], read(source), strict=True):
        np.testing.assert_array_equal(example["image"], images[name])
        assert example["label"] == label


def test_orders_and_starts_are_those_of_the_index(classes):
    source = data.load("folder", classes[0], "train", labels=True)
    stored = read(source)
    order = np.random.default_rng([4, 1]).permutation(3)
    for index, example in zip(order[1:], read(source, 1, 4, 1), strict=True):
        np.testing.assert_array_equal(example["image"], stored[index]["image"])
    assert source.examples(1, 4, 1).element_spec == {
        "image": tf.TensorSpec([4, 6, 3], tf.uint8),
        "label": tf.TensorSpec([], tf.int32),
    }


def test_only_grey_images_make_one_channel(tmp_path):
    grey = write(tmp_path / "train" / "0.png", picture(0, channels=1))
    with_alpha = write(tmp_path / "train" / "1.png", picture(1, channels=2))
    source = data.load("folder", str(tmp_path), "train")
    assert source.image_shape == (4, 6, 1)
    first, second = (example["image"] for example in read(source))
    np.testing.assert_array_equal(first, grey)
    np.testing.assert_array_equal(second, with_alpha[..., :1])


def test_grey_and_alpha_among_colours_become_three_channels(tmp_path):
    grey = write(tmp_path / "train" / "0.png", picture(0, channels=1))
    colour = write(tmp_path / "train" / "1.png", picture(1, channels=4))
    source = data.load("folder", str(tmp_path), "train")
    first, second = (example["image"] for example in read(source))
    np.testing.assert_array_equal(first, np.repeat(grey, 3, axis=-1))
    np.testing.assert_array_equal(second, colour[..., :3])


def test_jpeg_bmp_and_the_first_frame_of_a_gif_are_read(tmp_path):
    train = tmp_path / "train"
    train.mkdir()
    (train / "0.gif").write_bytes(gif(RED, BLACK))
    bitmap = picture(0, 1, 1)
    (train / "1.bmp").write_bytes(bmp(bitmap))
    write(train / "2.JPG", np.full((1, 1, 3), 128, np.uint8))
    write(train / "3.jpeg", np.full((1, 1, 3), 64, np.uint8))
    (train / "notes.txt").write_text("not an image")
    (train / ".hidden.png").write_text("not an image")
    source = data.load("folder", str(tmp_path), "train")
    pixels = [example["image"].ravel().tolist() for example in read(source)]
    assert pixels == [[255, 0, 0], bitmap.ravel().tolist(), [128] * 3, [64] * 3]


def test_images_that_are_resized_are_counted_in_a_warning(tmp_path, caplog):
    (tmp_path / "train").mkdir()
    for name, side in (("a.png", 2), ("b.png", 3), ("c.png", 4)):
        pixels = tf.zeros([side, side + side // 4, 3], tf.uint8)
        (tmp_path / "train" / name).write_bytes(tf.io.encode_png(pixels).numpy())
    data.load("folder", str(tmp_path), "train", image_size=2)
    messages = [r.getMessage() for r in caplog.records if "resized" in r.getMessage()]
    assert messages == [
        f"{tmp_path}/train: 2 of 3 images are cropped to a square and resized to 2×2, "
        "the first of them b.png of 3×3."
    ]


def test_image_size_crops_the_centre_and_averages(tmp_path):
    image = write(tmp_path / "train" / "wide.png", picture(0, h=4, w=8))
    tall = write(tmp_path / "train" / "z.png", picture(1, h=9, w=6))
    source = data.load("folder", str(tmp_path), "train", image_size=2)
    assert source.image_shape == (2, 2, 3)
    first, second = (example["image"] for example in read(source))
    square = image[:, 2:6].astype(float).reshape(2, 2, 2, 2, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(first, np.round(square))
    square = tall[1:7].astype(float).reshape(2, 3, 2, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(second, square, atol=0.501)


def test_two_sizes_are_rejected_and_both_named(tmp_path):
    write(tmp_path / "train" / "0.png", picture(0))
    write(tmp_path / "train" / "1.png", picture(0, h=5))
    with pytest.raises(
        ValueError, match="0.png is 4×6 but 1.png is 5×6 .*image_size=N"
    ):
        data.load("folder", str(tmp_path), "train")


def test_missing_and_empty_folders_are_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*train; folder needs"):
        data.load("folder", str(tmp_path), "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(
        ValueError, match="train holds no images .skipped: nothing.; put .png"
    ):
        data.load("folder", str(tmp_path), "train")
    with pytest.raises(ValueError, match="needs data_dir"):
        data.load("folder", None, "train")


def test_a_folder_of_skipped_files_alone_says_what_was_skipped(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.heic").touch()
    with pytest.raises(ValueError, match=r"no images \(skipped: 1 \.heic files\)"):
        data.load("folder", str(tmp_path), "train")


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "a\\b", "ä \N{SNOWMAN}", "{0}%s"])
def test_paths_that_look_like_patterns_are_read(tmp_path, name):
    """Also where another folder would match."""
    other = tmp_path / "a1"
    write(other / "train" / "0.png", picture(5))
    images = [write(tmp_path / name / "train" / name / f"{name}.png", picture(0))]
    source = data.load("folder", str(tmp_path / name), "train", labels=True)
    np.testing.assert_array_equal(
        [example["image"] for example in read(source)], images
    )
    assert source.class_names == (name,)
    assert list(source.names()) == [f"{name}/{name}.png"]


def test_names_that_are_not_utf_8_are_read(tmp_path):
    root = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.makedirs(root + "/train/caf\udce9")
    with open(root + "/train/caf\udce9/\udcff\n.png", "wb") as file:
        file.write(tf.io.encode_png(picture(0)).numpy())
    source = data.load("folder", root, "train", labels=True)
    assert len(read(source)) == 1
    assert source.class_names == (r"caf\udce9",)
    assert list(source.names()) == ["caf\udce9/\udcff\n.png"]
    with pytest.raises(FileNotFoundError) as error:
        data.load("folder", root, "test")
    assert "no folder" in str(error.value) and str(error.value).isprintable()


def change(path, how):
    """A file is removed, cut, emptied, replaced by another image or made unreadable."""
    if how == "removed":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:60])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "larger":
        write(path, picture(0, h=9))
    elif how == "coloured":
        write(path, picture(0))


@pytest.mark.parametrize(
    "how, reason",
    [
        ("removed", "cannot be opened, No such file or directory"),
        ("cut", "cannot be read as an image, it is damaged"),
        ("emptied", "is empty"),
        ("larger", r"is now \[9, 6, 3\] where images are \[4, 6, 1\]"),
        ("coloured", r"is now \[4, 6, 3\] where images are \[4, 6, 1\]"),
    ],
)
def test_a_file_that_changes_during_a_run_is_named_in_one_line(tmp_path, how, reason):
    for i in range(9):
        path = tmp_path / "train" / f"a[{i}] ö\n.png"
        write(path, picture(i, channels=1))
    source = data.load("folder", str(tmp_path), "train")
    change(tmp_path / "train" / "a[4] ö\n.png", how)
    examples = iter(source.examples(0).batch(2).prefetch(1))
    with pytest.raises(tf.errors.OpError) as error:
        for _ in examples:
            pass
    read_error = data.ReadError.of(error.value)
    line = rf"a\[4\] .*\.png' {reason}.*, but it could be read before\.$"
    assert re.search(line, str(read_error))
    assert "\n" not in str(read_error)

    step = tf.function(lambda iterator: next(iterator))
    with pytest.raises(tf.errors.OpError) as error:
        iterator = iter(source.examples())
        for _ in range(9):
            step(iterator)
    assert str(data.ReadError.of(error.value)) == str(read_error)


def test_with_image_size_another_size_during_a_run_is_no_error(tmp_path):
    write(tmp_path / "train" / "0.png", picture(0))
    source = data.load("folder", str(tmp_path), "train", image_size=2)
    change(tmp_path / "train" / "0.png", "larger")
    assert len(read(source)) == 1


def test_other_errors_are_no_read_errors():
    with pytest.raises(tf.errors.OpError) as error:
        tf.ensure_shape(tf.zeros(3), [2])
    assert data.ReadError.of(error.value) is None
