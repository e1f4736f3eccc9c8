"""Image files that are damaged, too large or of another kind, and what is said."""

import struct

import child_processes
import numpy as np
import pytest
from image_bytes import (
    COLOUR,
    GREY,
    RED,
    bmp,
    encoded,
    gif,
    jpeg,
    natural,
    png,
    png_chunk,
    tiff_of_planes,
)
from PIL import Image

import data
from data import image_file

GOOD = png(1, 1, 8, COLOUR, b"\0\1\2\3")


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
# Eight rows in strips of four, of which the header names the first alone.
ROWS_PER_STRIP = "<HHII", 278, 4, 1
FEWER_STRIPS = encoded(Image.new("L", (8, 8), 99), "TIFF").replace(
    struct.pack(*ROWS_PER_STRIP, 8), struct.pack(*ROWS_PER_STRIP, 4)
)
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
    "png of fewer rows": (png(1, 2, 8, COLOUR, b"\0\1\2\3"), "damaged"),
    "tiff of fewer rows": (FEWER_STRIPS, "has 32 of its 64 pixels"),
    "tiff of two planes": (tiff_of_planes(50, 60), "has 128 of its 192 pixels"),
    "floats": (encoded(Image.new("F", (2, 2)), "TIFF"), "has Pillow's mode F, best"),
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
    with pytest.raises(
        ValueError, match=f"train/3.png .*{message}.*repair or remove it"
    ) as error:
        data.load("folder", str(tmp_path), "train")
    assert "--skip_bad_images" in str(error.value)
    assert "\n" not in str(error.value)


def test_tiff_of_three_planes_is_read(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff_of_planes(50, 60, 70))
    pixels, _ = image_file.read(str(tmp_path / "a.tif"))
    np.testing.assert_array_equal(pixels, np.full((8, 8, 3), [50, 60, 70]))


# Loads the folder of each argument in a process of its own.
MEASURE = """
import os, resource, sys
import data
def load(folder):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        source = data.load("folder", folder, "train", image_size=8)
        list(source.examples())
    except ValueError as error:
        assert str(error).isprintable()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)
for folder in sys.argv[1:]:
    child = os.fork()
    if not child:
        load(folder)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def tiff_with_tiles_of(width, length):
    tags = {256: 1, 257: 1, 258: 8, 259: 8, 262: 1, 277: 1, 322: width, 323: length}
    tags |= {324: 8, 325: 1}
    fields = b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + fields + bytes(4)


SMALL_FILES = {
    # 60,001 pixels, but the widest times the highest are 900,000,000.
    "gif": GIF[:-1] + gif_frame(30000, 1) + gif_frame(1, 30000) + b";",
    "gif frames": GIF[:-1] + gif_frame(65535, 65535) * 50 + b";",
    "gif canvas": GIF[:-1] + gif_frame(8000, 8000) * 50 + b";",
    "tiff": tiff_with_tiles_of(1 << 15, 1 << 15),
    "tiff tiles": tiff_with_tiles_of(1 << 20, 1 << 20),
    "iccp": png(1, 1, 8, GREY, b"\0\7", png_chunk(b"iCCP", b"a\0\0" + bytes(99))),
    "short png": png(8000, 8000, 1, GREY, bytes(99)),
}


@pytest.mark.slow
def test_a_small_file_takes_little_memory(tmp_path):
    for name, contents in SMALL_FILES.items():
        (tmp_path / name / "train").mkdir(parents=True)
        (tmp_path / name / "train" / "it.png").write_bytes(contents)
    folders = [str(tmp_path / name) for name in SMALL_FILES]
    done = child_processes.run("-c", MEASURE, *folders)
    assert done.returncode == 0, done.stderr
    kilobytes = [int(line) for line in done.stdout.split()]
    taken = dict(zip(SMALL_FILES, kilobytes, strict=True))
    assert max(taken.values()) < 600_000, taken


def test_what_is_rejected_as_huge_could_otherwise_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 6)
    path = tmp_path / "train" / "it.png"
    path.parent.mkdir()
    path.write_bytes(encoded(np.zeros((2, 3, 3), np.uint8), "PNG"))
    assert data.load("folder", str(tmp_path), "train").image_shape == (2, 3, 3)
    path.write_bytes(encoded(np.zeros((7, 1, 3), np.uint8), "PNG"))
    with pytest.raises(ValueError, match="has more than 6 pixels"):
        data.load("folder", str(tmp_path), "train")


def test_files_of_more_bytes_than_an_image_can_have_are_not_read(tmp_path):
    (tmp_path / "train").mkdir()
    with open(tmp_path / "train" / "it.png", "wb") as file:
        file.write(GOOD)
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="has 1099511627776 bytes, the most is"):
        data.load("folder", str(tmp_path), "train")


@pytest.mark.slow
def test_without_pillow_folder_says_how_to_install_it_and_others_work(tmp_path):
    code = (
        "import sys; sys.modules['PIL'] = None; import data\n"
        "data.load('shapes', None, 'train')\n"
        f"data.load('folder', {str(tmp_path)!r}, 'train')"
    )
    done = child_processes.run("-c", code)
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("ValueError: data set folder reads images with Pillow")
    assert "pip install -e '.[images]'" in line
