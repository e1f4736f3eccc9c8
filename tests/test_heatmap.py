"""Colours and layout of the heat maps."""

import numpy as np
import pytest
from matplotlib import colormaps

from pixel_cnn_pp.evaluation import heatmap

DARK, LIGHT = (colormaps["inferno"](end, bytes=True)[:3] for end in (0.0, 1.0))


def test_colours_end_where_99_of_100_pixels_stay_below():
    bits = np.arange(101.0)
    bits[100] = 1e6
    assert heatmap.colour_limits(bits) == (0.0, 99.0)
    assert heatmap.colour_limits(bits, 30.0) == (0.0, 30.0)
    assert heatmap.colour_limits(np.zeros(3)) == (0.0, 1.0)


def test_colours_begin_below_0_for_densities_above_1():
    # 1 % of 10 bits is cut at each end.
    limits = heatmap.colour_limits(np.linspace(-4, 6, 1001))
    assert limits == pytest.approx((-3.9, 5.9))


@pytest.mark.parametrize("channels, width", [(1, 2), (3, 3), (2, 4)])
def test_picture_shows_each_image_beside_its_bits(channels, width):
    images = np.full((3, 2, width, channels), 77, np.uint8)
    images[..., 0] = np.array([10, 20, 30])[:, None, None]
    bits = np.zeros((3, 2, width))
    bits[1, 0, 1] = 6.0
    picture = heatmap.render(heatmap.make_figure(images, bits, 0.0, 6.0, scale=5))
    # Two pairs a row: image, a gap of 1, bits; 2 around each pair; pixels of 5×5.
    pixels = picture[2::5, 2::5]
    pair = 2 * width + 3

    def shown(row, column):
        top, left = 2 + 4 * row, 2 + pair * column
        found = pixels[top : top + 2, left : left + 2 * width + 1]
        return found[:, :width], found[:, width], found[:, width + 1 :]

    for i in range(3):
        image, gap, bits_of_image = shown(i // 2, i % 2)
        expected = images[i] if channels == 3 else images[i][..., :1].repeat(3, -1)
        np.testing.assert_array_equal(image, expected)
        assert (gap == 255).all()
        colours = np.where(bits[i][..., None] == 6, LIGHT, DARK)
        np.testing.assert_array_equal(bits_of_image, colours)
    assert (shown(1, 1)[0] == 255).all() and (shown(1, 1)[2] == 255).all()
    # Each pixel is a square, to its last pixel.
    assert (picture[10:15, 10:15, 0] == 10).all()
    assert (picture[10:15, 9] == 255).all() and (picture[9, 10:15] == 255).all()


def test_picture_has_one_colour_bar_in_bits_per_pixel():
    images = np.zeros((4, 8, 8, 3), np.uint8)
    figure = heatmap.make_figure(images, np.zeros((4, 8, 8)), 0.0, 25.0)
    (bar,) = figure.axes
    assert bar.get_ylabel() == "bits per pixel" and bar.get_ylim() == (0.0, 25.0)
    picture = heatmap.render(figure)
    height, width, _ = picture.shape
    # Two pairs of 17 pixels in a row, 2 around each; an inch of 100 pixels for the bar.
    assert (height, width) == (150, 2 * (17 + 2) + 2 + 100)
    for colour in (DARK, LIGHT):
        distance = abs(picture[:, 40:].astype(int) - colour).max(axis=-1)
        assert distance.min() < 8


def test_picture_of_large_images_is_not_resampled():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 97, 61, 3), dtype=np.uint8)
    bits = rng.random((3, 97, 61))
    picture = heatmap.render(heatmap.make_figure(images, bits, 0.0, 1.0, scale=7))
    for i, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        top, left = 7 * (2 + 99 * row), 7 * (2 + 125 * column)
        square = picture[top : top + 7 * 97, left : left + 7 * 61]
        np.testing.assert_array_equal(square, images[i].repeat(7, 0).repeat(7, 1))
