"""Axes of arrays of images: likely ones are read, others named with a remedy."""

import numpy as np
import pytest

import data
from data import axes


@pytest.mark.parametrize(
    "shape, axes, remedy",
    [
        ((9, 3, 32, 32), "[N, C, H, W]", "images.transpose(0, 2, 3, 1)"),
        ((9, 1, 28, 28), "[N, C, H, W]", "images.transpose(0, 2, 3, 1)"),
        ((9, 4, 8, 6), "[N, C, H, W]", "images.transpose(0, 2, 3, 1)"),
        ((32, 32, 3, 9), "[H, W, C, N]", "images.transpose(3, 0, 1, 2)"),
        ((3, 32, 32, 99), "[C, H, W, N]", "images.transpose(3, 1, 2, 0)"),
        ((3, 9, 32, 32), "[C, N, H, W]", "images.transpose(1, 2, 3, 0)"),
        ((8, 8, 999, 3), "[H, W, N, C]", "images.transpose(2, 0, 1, 3)"),
        ((32, 32, 3), "one image [H, W, C]", "images[None]"),
        ((3, 32, 32), "one image [C, H, W]", "images.transpose(1, 2, 0)[None]"),
        ((28, 28, 99), "[H, W, N]", "images.transpose(2, 0, 1)[..., None]"),
        ((999, 64, 3), "[N, H * W, C]", "images.reshape(N, H, W, C)"),
        (
            (99, 3, 64),
            "[N, C, H * W]",
            "images.reshape(N, C, H, W).transpose(0, 2, 3, 1)",
        ),
    ],
)
def test_other_orders_of_the_axes_are_rejected_with_the_way_back(
    tmp_path, shape, axes, remedy
):
    path = str(tmp_path / "images.npz")
    np.savez(path, train_images=np.zeros(shape, np.uint8))
    with pytest.raises(ValueError) as error:
        data.load("npz", path, "train")
    message = f"train_images has shape {list(shape)}, which looks like {axes} where"
    assert f"{message} images are [N, H, W, C]; save {remedy}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "order", [(0, 3, 1, 2), (1, 2, 3, 0), (3, 1, 2, 0), (3, 0, 1, 2), (1, 2, 0, 3)]
)
def test_the_remedy_gives_the_images_back(order):
    images = np.arange(999 * 8 * 8 * 3).reshape(999, 8, 8, 3)
    _, remedy = axes.find_other_axes(images.transpose(order).shape)
    back = eval(remedy, {"images": images.transpose(order)})
    np.testing.assert_array_equal(back, images)


@pytest.mark.parametrize(
    "shape", [(9, 32, 32, 13), (1, 28, 28), (28, 28, 28), (9, 2, 2, 1), (2, 3, 5, 2)]
)
def test_shapes_that_are_rare_but_in_order_are_read(tmp_path, shape):
    path = str(tmp_path / "images.npz")
    np.savez(path, train_images=np.zeros(shape, np.uint8))
    source = data.load("npz", path, "train")
    assert (source.num_images, *source.image_shape) == (*shape, 1)[:4]


@pytest.mark.parametrize(
    "shape, other",
    [((32, 32, 20, 3), "[H, W, N, C]"), ((30, 16, 8, 8), "[N, C, H, W]")],
)
def test_images_that_would_be_squares_by_other_axes_are_reported(
    tmp_path, caplog, shape, other
):
    path = str(tmp_path / "images.npz")
    np.savez(path, train_images=np.full(shape, 99, np.uint8))
    data.load("npz", path, "train")
    (record,) = caplog.records
    expected = f"train_images has shape {list(shape)}, which could be {other}; images"
    assert expected in record.getMessage()


def test_grey_images_without_a_channel_axis_get_one(tmp_path):
    images = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
    path = str(tmp_path / "images.npz")
    np.savez(path, train_images=images)
    source = data.load("npz", path, "train")
    assert source.image_shape == (6, 5, 1)
    stored = [example["image"] for example in source.examples().as_numpy_iterator()]
    np.testing.assert_array_equal(stored, images[..., None])
