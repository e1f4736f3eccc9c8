"""Image files from anywhere: the pixels of each format, and how bad files are named."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from image_bytes import (
    BLACK,
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    GREY_ALPHA,
    PALETTE,
    RED,
    bmp,
    encoded,
    gif,
    jpeg,
    natural,
    png,
    png_chunk,
)
from PIL import Image

import data

SAMPLE_FORMAT = 339  # A tag of TIFF.
COLOURS = png_chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6]))


def only_image(tmp_path, contents, name="it.png"):
    """The one image of a folder, uint8 [H, W, C]."""
    (tmp_path / "train").mkdir(parents=True)
    (tmp_path / "train" / name).write_bytes(contents)
    source = data.load("folder", str(tmp_path), "train")
    (example,) = source.examples().as_numpy_iterator()
    assert example["image"].shape == source.image_shape
    return example["image"]


@pytest.mark.parametrize(
    "contents, row",
    [
        (png(2, 1, 16, GREY, bytes.fromhex("00 12ff ff00")), [[0x12], [0xFF]]),
        (png(1, 1, 16, COLOUR, bytes.fromhex("00 12ff 80ff 7f01")), [[18, 128, 127]]),
        (png(1, 1, 16, GREY_ALPHA, bytes.fromhex("00 12ff 0000")), [[0x12]]),
        (png(4, 1, 2, GREY, b"\0\x1b"), [[0], [85], [170], [255]]),
        (png(2, 1, 8, PALETTE, b"\0\0\1", COLOURS), [[1, 2, 3], [4, 5, 6]]),
        (
            png(2, 1, 8, PALETTE, b"\0\0\1", COLOURS, png_chunk(b"tRNS", b"\0")),
            [[1, 2, 3], [4, 5, 6]],
        ),
        (png(1, 1, 8, COLOUR_ALPHA, b"\0\1\2\3\0"), [[1, 2, 3]]),
        (png(1, 1, 8, GREY_ALPHA, b"\0\7\0"), [[7]]),
        (png(1, 1, 8, GREY, b"\0\7", png_chunk(b"tRNS", b"\0\7")), [[7]]),
        (
            png(1, 1, 8, GREY, b"\0\7", png_chunk(b"acTL", struct.pack(">II", 2, 0))),
            [[7]],
        ),
        (jpeg([0, 255, 255, 255], 0, side=1), [[0, 255, 255]]),  # 255 − ink: cyan.
        (jpeg([255, 255, 255, 128], 0, side=1), [[128, 128, 128]]),
        (jpeg([100, 128, 128, 255], 2, side=1), [[155, 155, 155]]),  # YCCK.
        (jpeg([100], side=1, more_scans=9), [[100]]),
        (gif(RED, BLACK), [[255, 0, 0]]),
        (gif(RED, transparent=0), [[255, 0, 0]]),
    ],
    ids=[
        "16 bits of grey",
        "16 bits of colour",
        "16 bits of grey and alpha",
        "2 bits of grey",
        "palette",
        "palette with alpha",
        "fully transparent",
        "grey and alpha",
        "transparent grey",
        "animated png",
        "cmyk of Adobe",
        "black of Adobe",
        "ycck",
        "progressive jpeg",
        "animated gif",
        "transparent gif",
    ],
)
def test_pixels_are_8_bit_grey_or_rgb_without_alpha(tmp_path, contents, row):
    assert only_image(tmp_path, contents)[0].tolist() == row


def test_bmp_of_any_depth_is_read(tmp_path):
    pixels = np.arange(8, dtype=np.uint8).reshape(1, 2, 4)
    ramp = b"".join(bytes([i, i, i, 0]) for i in range(256))
    for name, contents, row in (
        ("grey", bmp(pixels[..., :1], palette=ramp), [[0], [4]]),
        ("rgb", bmp(pixels[..., :3]), [[0, 1, 2], [4, 5, 6]]),
        ("alpha", bmp(pixels), [[0, 1, 2], [4, 5, 6]]),
        (
            "palette",
            bmp(pixels[:, :1, :1], palette=bytes([3, 2, 1, 0, 6, 5, 4, 0])),
            [[1, 2, 3]],
        ),
    ):
        assert only_image(tmp_path / name, contents)[0].tolist() == row


LOSSLESS = [
    ("WEBP", "it.webp", {"lossless": True}),
    ("TIFF", "it.tif", {}),
    ("TIFF", "it.TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", "it.tiff", {"compression": "tiff_adobe_deflate"}),
    ("PNG", "it.png", {}),
    ("BMP", "it.bmp", {}),
]


@pytest.mark.parametrize(
    "kind, name, options, channels",
    # WebP has no grey.
    [(*one, c) for one in LOSSLESS for c in (1, 3, 4) if (one[0], c) != ("WEBP", 1)],
)
def test_lossless_formats_give_the_pixels(tmp_path, kind, name, options, channels):
    image = natural(0, channels=channels)
    stored = encoded(image if channels > 1 else image[..., 0], kind, **options)
    found = only_image(tmp_path, stored, name)
    np.testing.assert_array_equal(found, image[..., :3])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP", "MPO"])
def test_of_several_pictures_the_first_is_read(tmp_path, kind):
    first, second = (Image.fromarray(natural(seed)) for seed in (0, 1))
    options = {"save_all": True, "append_images": [second]}
    lossless = {"lossless": True} if kind == "WEBP" else {}
    several = encoded(first, kind, **options, **lossless)
    alone = encoded(first, "JPEG" if kind == "MPO" else kind, **lossless)
    with Image.open(io.BytesIO(several)) as image:
        assert image.n_frames == 2
    found = only_image(tmp_path / "several", several)
    np.testing.assert_array_equal(found, only_image(tmp_path / "alone", alone))


@pytest.mark.parametrize("name", ["a.jpe", "a.JFIF", "a.jpeg", "a.jpg"])
def test_every_ending_of_jpeg_is_read(tmp_path, name):
    assert only_image(tmp_path, jpeg([100]), name).tolist() == [[[100]] * 8] * 8


@pytest.mark.parametrize("quality", [75, 95, 100])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["4:4:4", "4:2:2", "4:2:0", "L", "CMYK"])
def test_jpeg_pixels_are_those_of_the_accurate_transform(
    tmp_path, quality, progressive, mode
):
    """On images like photographs; a fast transform differs in most of the pixels."""
    image = Image.fromarray(natural(quality))
    options = {"subsampling": mode} if ":" in mode else {}
    image = image if options else image.convert(mode)
    stored = encoded(image, "JPEG", quality=quality, progressive=progressive, **options)
    pixels = only_image(tmp_path, stored, "it.jpg")
    with Image.open(io.BytesIO(stored)) as reference:
        reference = np.asarray(reference if mode == "L" else reference.convert("RGB"))
    np.testing.assert_array_equal(pixels, reference.reshape(pixels.shape))
    channels = 1 if mode == "L" else 3
    accurate = tf.io.decode_jpeg(stored, channels, dct_method="INTEGER_ACCURATE")
    np.testing.assert_array_equal(pixels, accurate)
    if quality == 100 and mode == "4:4:4":
        difference = np.abs(pixels.astype(float) - natural(quality))
        assert difference.mean() < 0.6


@pytest.mark.parametrize(
    "kind, name", [("JPEG", "it.jpg"), ("PNG", "it.png"), ("TIFF", "it.tif")]
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_applied(tmp_path, kind, name, orientation):
    upright = natural(0)
    turned = {
        1: lambda image: image,
        2: lambda image: image[:, ::-1],
        3: lambda image: image[::-1, ::-1],
        4: lambda image: image[::-1],
        5: lambda image: image.transpose(1, 0, 2),
        6: lambda image: np.rot90(image),
        7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
        8: lambda image: np.rot90(image, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    stored = encoded(np.ascontiguousarray(turned), kind, exif=exif, **options)
    found = only_image(tmp_path, stored, name)
    assert found.shape == upright.shape
    assert np.abs(found.astype(float) - upright).mean() < (1 if options else 1e-9)


@pytest.mark.parametrize("bits, factor", [(8, 256), (10, 64), (12, 16), (15, 2)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "colour"])
def test_16_bit_files_of_fewer_bits_are_named_in_one_line(
    tmp_path, caplog, bits, factor, kind
):
    pixels = np.array([[0, (1 << bits) - 1]], np.uint16)
    contents = encoded(pixels, "PNG" if kind == "colour" else kind)
    if kind == "colour":
        row = b"\0" + np.repeat(pixels, 3).astype(">u2").tobytes()
        contents = png(2, 1, 16, COLOUR, row)
    image = only_image(tmp_path, contents)
    assert image.max() == (1 << bits) - 1 >> 8
    (record,) = caplog.records
    message = record.getMessage()
    assert f"its 1 images of 16 bits use the lower {bits} bits alone" in message
    assert message.endswith(f"multiply their values by {factor}.")
    assert "\n" not in message


def tiff(pixels, **entries):
    """A TIFF of grey pixels, and values of some tags put in place of its own."""
    contents = encoded(pixels, "TIFF", tiffinfo={SAMPLE_FORMAT: 1})
    for name, value in entries.items():
        tag = {"width": 256, "bits": 258, "photometric": 262, "sample_format": 339}
        starts = [struct.pack("<HHI", tag[name], kind, 1) for kind in (3, 4)]
        (start,) = (s for s in starts if s in contents)
        place = contents.index(start) + len(start)
        contents = contents[:place] + struct.pack("<I", value) + contents[place + 4 :]
    return contents


def test_of_12_bits_of_a_tiff_the_upper_8_are_kept(tmp_path):
    values = np.arange(4096).reshape(64, 64)
    first, second = values[:, ::2], values[:, 1::2]  # In 3 bytes.
    packed = first >> 4, (first & 15) << 4 | second >> 8, second & 255
    packed = np.stack(packed, axis=-1).astype(np.uint8).reshape(64, 96)
    image = only_image(tmp_path, tiff(packed, width=64, bits=12))
    np.testing.assert_array_equal(image[..., 0], values >> 4)


@pytest.mark.parametrize("dtype, shift", [(np.uint8, 0), (np.uint16, 8)])
def test_tiff_whose_zero_is_white_is_not_inverted(tmp_path, dtype, shift):
    pixels = np.array([[0, 1000, np.iinfo(dtype).max]]).astype(dtype)
    image = only_image(tmp_path, tiff(pixels, photometric=0))
    np.testing.assert_array_equal(image[0, :, 0], 255 - (pixels[0] >> shift))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_signed_integers_are_rejected(tmp_path, dtype):
    with pytest.raises(ValueError, match="has signed integers, best saved as grey"):
        only_image(tmp_path, tiff(np.ones((2, 2), dtype), sample_format=2))


def test_no_line_where_one_16_bit_image_uses_the_upper_bits(tmp_path, caplog):
    (tmp_path / "train").mkdir()
    for i, brightest in enumerate([4095, 40_000]):
        pixels = np.array([[0, brightest]], np.uint16)
        (tmp_path / "train" / f"{i}.png").write_bytes(encoded(pixels, "PNG"))
    (tmp_path / "train" / "2.png").write_bytes(png(2, 1, 8, GREY, b"\0\1\2"))
    data.load("folder", str(tmp_path), "train")
    assert not caplog.records
