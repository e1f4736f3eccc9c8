"""Folders of image files."""

import os

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


def test_labels_of_test_are_those_of_train(classes):
    source = data.load("folder", classes[0], "test", labels=True)
    assert source.num_labels == 2
    assert [example["label"] for example in read(source)] == [1]


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


def test_two_sizes_are_refused_and_both_named(tmp_path):
    write(tmp_path / "train" / "0.png", picture(0))
    write(tmp_path / "train" / "1.png", picture(0, h=5))
    with pytest.raises(
        ValueError, match="0.png is 4×6 but 1.png is 5×6 .*image_size=N"
    ):
        data.load("folder", str(tmp_path), "train")


@pytest.mark.parametrize("contents", [b"", b"not an image", "half"])
def test_an_unreadable_image_is_named(tmp_path, contents):
    for i in range(5):
        write(tmp_path / "train" / f"{i}.png", picture(i))
    bad = tmp_path / "train" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60] if contents == "half" else contents)
    with pytest.raises(ValueError, match="3.png (is empty|cannot be read)") as error:
        data.load("folder", str(tmp_path), "train")
    assert "\n" not in str(error.value)


def test_labels_need_every_image_in_a_class_of_train(classes, tmp_path):
    write(tmp_path / "test" / "c" / "0.png", picture(0))
    with pytest.raises(ValueError, match="train has no class 'c' .it has a, b"):
        data.load("folder", classes[0], "test", labels=True)
    write(tmp_path / "train" / "0.png", picture(0))
    with pytest.raises(ValueError, match="0.png lies in no class folder"):
        data.load("folder", classes[0], "train", labels=True)
    assert data.load("folder", classes[0], "train").num_images == 4


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*train; folder needs"):
        data.load("folder", str(tmp_path), "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="train holds no images; put .png"):
        data.load("folder", str(tmp_path), "train")
    with pytest.raises(ValueError, match="needs data_dir"):
        data.load("folder", None, "train")


def test_links_to_folders_are_not_followed(classes):
    root, _ = classes
    os.symlink(os.path.join(root, "train"), os.path.join(root, "train", "a", "loop"))
    assert data.load("folder", root, "train", labels=True).num_images == 3
