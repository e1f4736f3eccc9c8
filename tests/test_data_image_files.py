"""Image files from anywhere: the pixels of each format, and how bad files are named."""

import io
import struct
import subprocess
import sys

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
from data import image_file

COLOURS = png_chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6]))
GOOD = png(1, 1, 8, COLOUR, b"\0\1\2\3")


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


@pytest.mark.parametrize(
    "kind, name, options",
    [
        ("WEBP", "it.webp", {"lossless": True}),
        ("TIFF", "it.tif", {}),
        ("TIFF", "it.TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", "it.tiff", {"compression": "tiff_adobe_deflate"}),
        ("PNG", "it.png", {}),
        ("BMP", "it.bmp", {}),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_formats_give_the_pixels(tmp_path, kind, name, options, channels):
    if channels == 1 and kind == "WEBP":
        pytest.skip("WebP has no grey")
    image = natural(0, channels=channels)
    stored = encoded(image if channels > 1 else image[..., 0], kind, **options)
    found = only_image(tmp_path, stored, name)
    np.testing.assert_array_equal(found, image[..., :3])


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


@pytest.mark.parametrize("kind, name", [("JPEG", "it.jpg"), ("PNG", "it.png")])
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


def test_no_line_where_one_16_bit_image_uses_the_upper_bits(tmp_path, caplog):
    (tmp_path / "train").mkdir()
    for i, brightest in enumerate([4095, 40_000]):
        pixels = np.array([[0, brightest]], np.uint16)
        (tmp_path / "train" / f"{i}.png").write_bytes(encoded(pixels, "PNG"))
    (tmp_path / "train" / "2.png").write_bytes(png(2, 1, 8, GREY, b"\0\1\2"))
    data.load("folder", str(tmp_path), "train")
    assert not caplog.records


def claiming(contents, at, form, *sizes):
    """The file with other sizes in its header."""
    sizes = struct.pack(form, *sizes)
    return contents[:at] + sizes + contents[at + len(sizes) :]


def gif_frame(width, height):
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02" + RED


GIF = gif(RED)
PIXEL = np.zeros((1, 1, 1), np.uint8)
PHOTO = encoded(natural(0), "JPEG")
TIFF = encoded(natural(0), "TIFF")
WEBP = encoded(natural(0), "WEBP")
BAD = {
    "zero bytes": (b"", "is empty"),
    "text": (b"not an image", "damaged or no PNG, JPEG, BMP, GIF, WebP or TIFF"),
    "a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "damaged"),
    "half a png": (GOOD[:-20], "damaged"),
    "head of a png": (GOOD[:20], "damaged"),
    "png without its end": (GOOD[:-12], "damaged"),
    "altered png": (GOOD.replace(b"IDATx", b"IDATy"), "damaged"),
    "half a jpeg": (PHOTO[: len(PHOTO) // 2], "damaged"),
    "head of a jpeg": (b"\xff\xd8\xff\xe0", "damaged"),
    "head of a gif": (GIF[:10], "damaged"),
    "half a gif": (GIF[:-4], "damaged"),
    "head of a bmp": (bmp(PIXEL)[:30], "damaged"),
    "half a bmp": (bmp(np.zeros((9, 9, 3), np.uint8))[:-9], "damaged"),
    "half a webp": (WEBP[: len(WEBP) // 2], "damaged"),
    "half a tiff": (TIFF[: len(TIFF) // 2], "damaged"),
    "floats": (encoded(Image.new("F", (2, 2)), "TIFF"), "has values of 32 bits"),
    "huge png": (png(30000, 30000, 1, GREY, b""), "has more than 67108864 pixels"),
    "large png": (png(9000, 9000, 1, GREY, b""), "has more than 67108864 pixels"),
    "huge jpeg": (jpeg([100], side=65000), "has more than 67108864 pixels"),
    "huge gif": (gif(RED, width=9000, height=9000), "has more than 67108864 pixels"),
    "gif of a huge frame": (
        GIF[:-1].replace(gif_frame(1, 1), gif_frame(60000, 30000)) + b";",
        "has more than 67108864 pixels",
    ),
    "huge bmp": (
        claiming(bmp(np.zeros((1, 1, 3), np.uint8)), 18, "<ii", 2**30, -(2**30)),
        "has more than 67108864 pixels",
    ),
    "endless jpeg": (jpeg([100], more_scans=200), "has 201 scans, the most is 100"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_with_what_is_wrong_and_both_remedies(tmp_path, kind):
    contents, message = BAD[kind]
    (tmp_path / "train").mkdir()
    for i in range(5):
        (tmp_path / "train" / f"{i}.png").write_bytes(contents if i == 3 else GOOD)
    with pytest.raises(ValueError, match=f"train/3.png .*{message}.*repair") as error:
        data.load("folder", str(tmp_path), "train")
    assert "--skip_bad_images" in str(error.value)
    assert "\n" not in str(error.value)


MEASURE = """
import resource, sys
import data
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    source = data.load("folder", sys.argv[1], "train", image_size=8)
    list(source.examples())
except ValueError as error:
    assert str(error).isprintable()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def tiff_with_tiles_of(width, length):
    tags = {256: 1, 257: 1, 258: 8, 259: 8, 262: 1, 277: 1, 322: width, 323: length}
    tags |= {324: 8, 325: 1}
    fields = b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + fields + bytes(4)


@pytest.mark.parametrize(
    "contents",
    [
        # 60,001 pixels, but the widest times the highest are 900,000,000.
        GIF[:-1] + gif_frame(30000, 1) + gif_frame(1, 30000) + b";",
        GIF[:-1] + gif_frame(65535, 65535) * 50 + b";",
        GIF[:-1] + gif_frame(8000, 8000) * 50 + b";",
        tiff_with_tiles_of(1 << 15, 1 << 15),
        tiff_with_tiles_of(1 << 20, 1 << 20),
        png(1, 1, 8, GREY, b"\0\7", png_chunk(b"iCCP", b"a\0\0" + bytes(99))),
        png(8000, 8000, 1, GREY, bytes(99)),
    ],
    ids=["gif", "gif frames", "gif canvas", "tiff", "tiff tiles", "iccp", "short png"],
)
def test_a_small_file_takes_little_memory(tmp_path, contents):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "it.png").write_bytes(contents)
    root = data.__path__[0] + "/.."
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 600_000  # kB


def test_what_is_rejected_as_huge_could_otherwise_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 6)
    within = tf.io.encode_png(np.zeros((2, 3, 3), np.uint8)).numpy()
    assert not only_image(tmp_path / "colour", within).any()
    over = tf.io.encode_png(np.zeros((7, 1, 3), np.uint8)).numpy()
    with pytest.raises(ValueError, match="has more than 6 pixels"):
        only_image(tmp_path / "grey", over)


def test_files_of_more_bytes_than_an_image_can_have_are_not_read(tmp_path):
    (tmp_path / "train").mkdir()
    with open(tmp_path / "train" / "it.png", "wb") as file:
        file.write(GOOD)
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="has 1099511627776 bytes, the most is"):
        data.load("folder", str(tmp_path), "train")


def test_without_pillow_folder_says_how_to_install_it_and_others_work(tmp_path):
    code = (
        "import sys; sys.modules['PIL'] = None; import data\n"
        "data.load('shapes', None, 'train')\n"
        f"data.load('folder', {str(tmp_path)!r}, 'train')"
    )
    root = data.__path__[0] + "/.."
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("ValueError: data set folder reads images with Pillow")
    assert "pip install -e '.[images]'" in line
