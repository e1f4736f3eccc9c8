"""Images to floats and back, grids, PNG."""

import os

import numpy as np
import pytest
import tensorflow as tf

from pixel_cnn_pp import images


def test_0_255_and_127_go_to_minus_1_1_and_just_below_0():
    x = images.to_float(np.uint8([0, 255, 127])).numpy()
    np.testing.assert_allclose(x, [-1, 1, -0.5 / 127.5], atol=1e-7)


@pytest.mark.parametrize("num_levels", [2, 5, 256])
def test_all_pixel_values_survive_the_way_to_floats_and_back(num_levels):
    values = np.arange(num_levels, dtype=np.uint8)
    back = images.to_pixel_values(images.to_float(values, num_levels), num_levels)
    np.testing.assert_array_equal(back, values)


def test_quantising_to_4_values_cuts_256_into_equal_quarters():
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(images.quantize(values, 4), values // 64)
    np.testing.assert_array_equal(images.quantize(values, 256), values)


def test_pixel_values_spread_to_8_bits_for_the_eye():
    assert images.to_8_bit(np.uint8([0, 1, 3]), 4).tolist() == [0, 85, 255]


def test_three_tiles_stand_in_two_columns_with_white_borders():
    tiles = np.zeros((3, 2, 4, 3), np.uint8) + np.uint8([[[[10]]], [[[20]]], [[[30]]]])
    grid = images.tile(tiles)
    assert grid.shape == (2 * 3 + 1, 2 * 5 + 1, 3)
    assert (grid[1:3, 1:5] == 10).all() and (grid[1:3, 6:10] == 20).all()
    assert (grid[4:6, 1:5] == 30).all() and (grid[4:6, 6:10] == 255).all()
    assert (grid[0] == 255).all() and (grid[:, 5] == 255).all()


def test_a_pixel_enlarged_twice_is_a_square_of_four():
    image = np.uint8([[[1], [2]]])
    assert images.enlarge(image, 2)[..., 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_gives_back_the_image(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    images.write_grid(str(tmp_path / "image"), image)
    back = tf.io.decode_png((tmp_path / "image.png").read_bytes()).numpy()
    np.testing.assert_array_equal(back, image)


def test_png_of_two_channels_shows_the_first(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 2), dtype=np.uint8)
    images.write_grid(str(tmp_path / "image"), image)
    back = tf.io.decode_png((tmp_path / "image.png").read_bytes()).numpy()
    np.testing.assert_array_equal(back, image[..., :1])


@pytest.mark.parametrize(
    "height, width, scale", [(1, 1, 128), (32, 32, 4), (24, 33, 4), (127, 2, 2)]
)
def test_scale_to_see_makes_the_longer_side_128_pixels_or_more(height, width, scale):
    assert images.scale_to_see((height, width, 3)) == scale
    assert images.scale_to_see((128, 500, 1)) == 1


def test_grid_of_too_many_pixels_is_rejected_with_a_scale_that_fits():
    # 2^27 pixels are 2^17 of 32×32 with one pixel of border: scale 32 just fits.
    images.check_png_size((31, 31, 3), 128, 32)
    with pytest.raises(ValueError, match=r"--scale=33: a PNG of 128 .* --scale=32 or"):
        images.check_png_size((31, 31, 3), 128, 33)
    with pytest.raises(ValueError, match="give fewer images"):
        images.check_png_size((31, 31, 3), 10**30, 1)


def test_picture_that_cannot_be_written_leaves_the_one_before_as_it_was(
    tmp_path, monkeypatch
):
    image = np.zeros((5, 7, 3), np.uint8)
    images.write_grid(str(tmp_path / "image"), image, images=image)
    before = (tmp_path / "image.png").read_bytes()

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        images.write_grid(str(tmp_path / "image"), image + 9, images=image)
    assert (tmp_path / "image.png").read_bytes() == before


def test_floats_are_no_pixel_values():
    with pytest.raises(ValueError, match="images float32: must be integers, 0 to 255"):
        images.to_float(np.float32([0.5]))
