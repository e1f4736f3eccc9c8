"""Colours, scale and sheet of the heat maps; the sheet of samples by label."""

import numpy as np
import pytest

from pixel_cnn_pp.evaluation import heatmap, lettering
from pixel_cnn_pp.evaluation import samples as drawing


def lightness(rgb):
    """CIE L* of sRGB in 0 … 255."""
    c = np.asarray(rgb) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.where(y > 0.008856, np.cbrt(y), 7.787 * y + 16 / 116) - 16


def test_more_bits_are_lighter_by_about_equal_steps():
    steps = np.diff(lightness(heatmap.ANCHORS))
    np.testing.assert_allclose(steps, 16, atol=0.2)
    shades = lightness(heatmap.colours(np.linspace(0, 1, 60), 0, 1))
    assert (np.diff(shades) > 0.5).all()


def test_colours_at_the_ends_between_two_anchors_and_beyond_the_ends():
    found = heatmap.colours(np.array([[2.0, 8.0], [2.5, 99.0]]), 2.0, 8.0)
    ends = [[0, 0, 32], [251, 250, 190]]
    # Half way from (0, 0, 32) to (59, 12, 109), halves to the even number.
    assert found.tolist() == [ends, [[30, 6, 70], ends[1]]]
    assert heatmap.colours(np.array([-5.0]), 2.0, 8.0).tolist() == ends[:1]


@pytest.mark.parametrize(
    "value, rounded",
    [(13.21, 14), (25, 25), (0.123, 0.13), (-3.14, -3.2), (0, 0), (1234, 1300)],
)
def test_ends_of_the_scale_have_two_digits_and_lie_outside(value, rounded):
    assert heatmap.round_away(value) == pytest.approx(rounded, rel=1e-12)


def test_scale_ends_where_99_of_100_pixels_stay_below():
    bits = np.arange(101.0)
    bits[100] = 1e6
    assert heatmap.scale_ends(bits, None) == (0.0, 99.0)
    assert heatmap.scale_ends(bits, 30.0) == (0.0, 30.0)
    assert heatmap.scale_ends(np.zeros(3), None) == (0.0, 1.0)
    # A density can be above 1, its bits below 0; here the ends are cut by 1 % of 10.
    assert heatmap.scale_ends(np.linspace(-4, 6, 1001), None) == (-3.9, 5.9)


def test_sheet_shows_each_image_beside_its_map_and_the_scale_below():
    images = np.full((3, 2, 2, 1), [[[[10]]], [[[20]]], [[[30]]]], np.uint8)
    bits = np.zeros((3, 2, 2))
    bits[1, 0, 1] = 6.0
    sheet = heatmap.draw_sheet(images, bits, 0.0, 6.0, scale=5)
    # Two pairs a row: image and map of 2×2 between borders of 1, each pixel 5×5.
    few, many = [0, 0, 32], [251, 250, 190]
    assert (sheet[5:15, 5:15] == 10).all() and (sheet[5:15, 20:30] == few).all()
    assert (sheet[5:15, 35:45] == 20).all()
    assert (sheet[5:10, 50:55] == few).all() and (sheet[5:10, 55:60] == many).all()
    assert (sheet[20:30, 5:15] == 30).all() and (sheet[20:30, 35:65] == 255).all()
    bar = sheet[37 + 2]
    assert bar[2].tolist() == few and bar[-3].tolist() == many
    numbers = sheet[-14:, :, 0] == 0
    zero = lettering.lettered("0").repeat(2, 0).repeat(2, 1)
    six = lettering.lettered("6").repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(numbers[2:12, 2:8], zero)
    np.testing.assert_array_equal(numbers[2:12, -8:-2], six)


def test_letters_have_five_rows_of_three_dots_and_one_dot_between():
    for glyph in lettering.GLYPHS.values():
        assert [len(row) for row in glyph.split()] == [3] * 5
    one, seven = lettering.lettered("1"), lettering.lettered("7")
    both = np.concatenate([one, np.zeros((5, 1), bool), seven], axis=1)
    np.testing.assert_array_equal(lettering.lettered("17"), both)
    assert one.astype(int).tolist() == [
        [0, 1, 0],
        [1, 1, 0],
        [0, 1, 0],
        [0, 1, 0],
        [1, 1, 1],
    ]


def test_labels_that_take_turns_have_a_row_each_with_its_number():
    images = np.full((5, 6, 6, 3), 100, np.uint8) + np.arange(
        5, dtype=np.uint8
    ).reshape(-1, 1, 1, 1)
    sheet = drawing.tile_by_label(images, [7, 12])
    margin = 1 + 2 * 4
    assert sheet.shape == (2 * 7 + 1, margin + 3 * 7 + 1, 3)
    left = [margin + 1 + 7 * column for column in range(3)]
    assert [sheet[1, x, 0] for x in left] == [100, 102, 104]
    assert [sheet[8, x, 0] for x in left] == [101, 103, 255]
    ink = sheet[:, :margin, 0] == 0
    np.testing.assert_array_equal(ink[1:6, 5:8], lettering.lettered("7"))
    np.testing.assert_array_equal(ink[8:13, 1:8], lettering.lettered("12"))
    assert ink.sum() == sum(lettering.lettered(t).sum() for t in ("7", "12"))
