"""Image files from anywhere: what each kind gives, and how bad ones are told or left
out."""

import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from image_bytes import (
    BLACK,
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    PALETTE,
    RED,
    bmp,
    gif,
    jpeg,
    png,
    png_chunk,
)

import data
from data import folder, image_file

COLOURS = png_chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6]))
GOOD = png(1, 1, 8, COLOUR, b"\0\1\2\3")


def only_image(tmp_path, contents):
    """The first row of the one image of a folder, as lists."""
    (tmp_path / "train").mkdir(parents=True)
    (tmp_path / "train" / "it.png").write_bytes(contents)
    source = data.load("folder", str(tmp_path), "train")
    (example,) = source.examples().as_numpy_iterator()
    assert example["image"].shape == source.image_shape
    return example["image"][0].tolist()


@pytest.mark.parametrize(
    "contents, row",
    [
        (png(2, 1, 16, GREY, bytes.fromhex("00 12ff ff00")), [[0x12], [0xFF]]),
        (png(1, 1, 16, COLOUR, bytes.fromhex("00 12ff 80ff 7f01")), [[18, 128, 127]]),
        (png(4, 1, 2, GREY, b"\0\x1b"), [[0], [85], [170], [255]]),
        (png(2, 1, 8, PALETTE, b"\0\0\1", COLOURS), [[1, 2, 3], [4, 5, 6]]),
        (
            png(2, 1, 8, PALETTE, b"\0\0\1", COLOURS, png_chunk(b"tRNS", b"\0")),
            [[1, 2, 3], [4, 5, 6]],
        ),
        (png(1, 1, 8, COLOUR_ALPHA, b"\0\1\2\3\0"), [[1, 2, 3]]),
        (
            png(1, 1, 8, GREY, b"\0\7", png_chunk(b"tRNS", b"\0\7")),
            [[7]],
        ),
        (
            png(1, 1, 8, GREY, b"\0\7", png_chunk(b"acTL", struct.pack(">II", 2, 0))),
            [[7]],
        ),
    ],
    ids=[
        "16 bits of grey",
        "16 bits of colour",
        "2 bits of grey",
        "palette",
        "palette with alpha",
        "fully transparent",
        "transparent grey",
        "animation",
    ],
)
def test_png_gives_its_colours_in_8_bits_without_alpha(tmp_path, contents, row):
    assert only_image(tmp_path, contents) == row


@pytest.mark.parametrize(
    "adobe, levels, colour",
    [
        (0, [0, 255, 255, 255], [0, 255, 255]),  # Adobe stores 255 − ink: cyan.
        (0, [255, 255, 255, 128], [128, 128, 128]),
        (None, [255, 0, 0, 0], [0, 255, 255]),  # Others store ink.
        (2, [100, 128, 128, 255], [155, 155, 155]),  # YCCK: Y is that of the ink.
    ],
)
def test_jpeg_of_cmyk_gives_ink_times_black(tmp_path, adobe, levels, colour):
    assert only_image(tmp_path, jpeg(levels, adobe)) == [colour] * 8


def test_jpeg_of_several_scans_is_read(tmp_path):
    assert only_image(tmp_path, jpeg([100], more_scans=9)) == [[100]] * 8


def test_gif_gives_its_first_frame_transparent_pixels_black(tmp_path):
    assert only_image(tmp_path / "animation", gif(RED, BLACK)) == [[255, 0, 0]]
    assert only_image(tmp_path / "clear", gif(RED, transparent=0)) == [[0, 0, 0]]


def test_bmp_gives_grey_and_colour_without_alpha(tmp_path):
    pixels = np.arange(8, dtype=np.uint8).reshape(1, 2, 4)
    ramp = image_file.GREY_PALETTE
    grey = bmp(pixels[..., :1], palette=ramp)
    assert only_image(tmp_path / "grey", grey) == [[0], [4]]
    colours = [[0, 1, 2], [4, 5, 6]]
    assert only_image(tmp_path / "colour", bmp(pixels[..., :3])) == colours
    assert only_image(tmp_path / "alpha", bmp(pixels)) == colours


def claiming(contents, at, form, *sizes):
    """The file with other sizes in its header."""
    sizes = struct.pack(form, *sizes)
    return contents[:at] + sizes + contents[at + len(sizes) :]


PIXEL = np.zeros((1, 1, 1), np.uint8)
JPEG = jpeg([100])
BAD = {
    "zero bytes": (b"", "is empty"),
    "text": (b"not an image", "no PNG, JPEG, GIF or BMP"),
    "webp": (b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + bytes(12), "no PNG, JPEG, GIF"),
    "half a png": (GOOD[:-20], "damaged"),
    "head of a png": (GOOD[:20], "damaged"),
    "altered png": (GOOD.replace(b"IDATx", b"IDATy"), "damaged"),
    "half a jpeg": (JPEG[:-4], "damaged"),
    "head of a jpeg": (b"\xff\xd8\xff\xe0", "damaged"),
    "head of a gif": (gif(RED)[:10], "damaged"),
    "half a gif": (gif(RED)[:-4], "damaged"),
    "head of a bmp": (bmp(PIXEL)[:30], "damaged"),
    "half a bmp": (bmp(np.zeros((9, 9, 3), np.uint8))[:-9], "damaged"),
    "palette bmp": (bmp(PIXEL, palette=bytes(range(8))), "best saved as PNG"),
    "compressed bmp": (bmp(PIXEL, 1, image_file.GREY_PALETTE), "best saved as PNG"),
    "16-bit bmp": (bmp(np.zeros((1, 1, 2), np.uint8)), "best saved as PNG"),
    "huge png": (png(30000, 30000, 1, GREY, b""), "has 900000000 pixels, the most is"),
    "huge jpeg": (jpeg([100], side=65000), "has 4225000000 pixels, the most is"),
    "huge gif": (gif(RED, width=9000, height=9000), "has 81000000 pixels"),
    "huge animation": (gif(*[RED] * 9, width=3000, height=3000), "has 81000000 pix"),
    "huge bmp": (
        claiming(bmp(np.zeros((1, 1, 3), np.uint8)), 18, "<ii", 2**30, -(2**30)),
        "has 1152921504606846976 pixels",
    ),
    "endless jpeg": (jpeg([100], more_scans=200), "has 201 scans, the most is 100"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_with_what_is_wrong_and_both_remedies(tmp_path, kind):
    contents, message = BAD[kind]
    (tmp_path / "train").mkdir()
    for i in range(5):
        (tmp_path / "train" / f"{i}.png").write_bytes(contents if i == 3 else GOOD)
    with pytest.raises(ValueError, match=f"train/3.png .*{message}.*mend") as error:
        data.load("folder", str(tmp_path), "train")
    assert "--skip_bad_images" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def mixed(tmp_path):
    """Two classes of good files, numbered in their order, among all bad ones."""
    bad = [contents for contents, _ in BAD.values()]
    for i in range(60):
        name = "ab"[i // 30]
        for split in ("train", "test"):
            path = tmp_path / split / name / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            good = png(1, 1, 8, GREY, bytes([0, i]))
            path.write_bytes(bad[i // 2 % len(bad)] if i % 2 else good)
    return str(tmp_path)


def test_bad_files_are_left_out_and_the_order_is_that_of_the_others(mixed):
    source = data.load("folder", mixed, "train", labels=True, skip_bad_images=True)
    assert (source.num_images, source.num_labels) == (30, 2)
    stored = [(e["image"].item(), e["label"]) for e in read(source)]
    assert stored == [(i, i // 30) for i in range(0, 60, 2)]
    order = np.random.default_rng([5, 3]).permutation(30)
    shuffled = [e["image"].item() for e in read(source, 3, 5, 7)]
    assert shuffled == [2 * i for i in order[7:]]


def read(source, *args):
    return list(source.examples(*args).as_numpy_iterator())


def test_files_left_out_are_counted_and_the_first_named_in_one_line(mixed, caplog):
    data.load("folder", mixed, "train", skip_bad_images=True)
    (record,) = caplog.records
    line = record.getMessage()
    assert "train: 30 of 60 images are left out: a/01.png is empty; a/03.png " in line
    assert line.count(".png") == 3 and line.endswith("; …") and "\n" not in line


def test_nothing_is_reported_where_nothing_is_left_out(tmp_path, caplog):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "it.png").write_bytes(GOOD)
    source = data.load("folder", str(tmp_path), "train", skip_bad_images=True)
    assert (source.num_images, caplog.records) == (1, [])


def test_a_folder_of_bad_files_alone_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    for i in range(3):
        (tmp_path / "train" / f"{i}.png").touch()
    with pytest.raises(ValueError, match="none of its 3 images can be read .0.png is"):
        data.load("folder", str(tmp_path), "train", skip_bad_images=True)


@pytest.mark.parametrize("name", sorted(set(data.NAMES) - {"folder"}))
def test_other_sets_have_no_images_to_skip(name):
    with pytest.raises(ValueError, match=f"--skip_bad_images: {name} has no .* leave"):
        data.load(name, None, "train", skip_bad_images=True)


def test_files_of_more_bytes_than_an_image_can_have_are_not_read(tmp_path):
    (tmp_path / "train").mkdir()
    with open(tmp_path / "train" / "it.png", "wb") as file:
        file.write(GOOD)
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="has 1099511627776 bytes, the most is"):
        data.load("folder", str(tmp_path), "train")


def test_loops_of_links_end_and_pipes_are_not_waited_for(tmp_path, caplog):
    train = tmp_path / "train"
    train.mkdir()
    (train / "0.png").write_bytes(GOOD)
    os.symlink(train, train / "loop")
    os.symlink(train, train / "loop.png")
    os.symlink("1.png", train / "1.png")
    os.symlink("nothing", train / "2.png")
    os.mkfifo(train / "3.png")
    os.symlink("/dev/zero", train / "4.png")
    source = data.load("folder", str(tmp_path), "train", skip_bad_images=True)
    assert source.num_images == 1
    assert "4 of 5 images" in caplog.text
    assert "1.png cannot be opened, Too many levels of symbolic links" in caplog.text
    assert "2.png cannot be opened, No such file" in caplog.text
    assert "3.png is no regular file" in caplog.text
    with pytest.raises(ValueError, match="1.png cannot be opened, Too many"):
        data.load("folder", str(tmp_path), "train")


def test_a_failing_disk_makes_no_bad_image(tmp_path, monkeypatch):
    """Tomorrow the file may be there, and the images would have another order."""

    def fail(path):
        raise OSError(5, "Input/output error", path)

    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "it.png").write_bytes(GOOD)
    monkeypatch.setattr(image_file, "shape", fail)
    with pytest.raises(OSError, match="Input/output error: .*it.png"):
        data.load("folder", str(tmp_path), "train", skip_bad_images=True)


def test_names_of_any_bytes_are_read_and_told_in_one_line(tmp_path):
    train = os.fsencode(tmp_path / "train")
    os.mkdir(train)
    for name in (b"\xff.png", b"new\nline.png", "ä.png".encode()):
        with open(os.path.join(train, name), "wb") as file:
            file.write(GOOD)
    assert len(read(data.load("folder", str(tmp_path), "train"))) == 3
    with open(os.path.join(train, b"new\nline.png"), "wb"):
        pass
    with pytest.raises(ValueError, match=r"new\\nline.png' is empty") as error:
        data.load("folder", str(tmp_path), "train")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"new\\nline.png' lies in no") as error:
        data.load("folder", str(tmp_path), "train", labels=True)
    assert "\n" not in str(error.value)


def test_folders_in_folders_are_read_to_any_depth(tmp_path):
    depth = sys.getrecursionlimit() + 100
    (tmp_path / "train").mkdir()
    here = os.open(tmp_path / "train", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open("it.png", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, GOOD)
    os.close(file)
    os.close(here)
    try:
        assert data.load("folder", str(tmp_path), "train").num_images == 1
    finally:  # Python's own rmtree would go too deep.
        subprocess.run(["rm", "-r", tmp_path / "train"], check=True)


def test_20_000_files_are_found_in_seconds(tmp_path):
    for name in range(20):
        (tmp_path / str(name)).mkdir()
        for i in range(1000):
            os.mknod(tmp_path / str(name) / f"{i:04}.png")
    start = time.process_time()
    files = folder.find_images(str(tmp_path))
    assert time.process_time() - start < 2
    assert len(files) == 20_000
    assert files == sorted(files)


def test_what_is_refused_as_huge_could_otherwise_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 6)
    within = tf.io.encode_png(np.zeros((2, 3, 3), np.uint8)).numpy()
    assert only_image(tmp_path / "colour", within) == [[0, 0, 0]] * 3
    over = tf.io.encode_png(np.zeros((7, 1, 3), np.uint8)).numpy()
    with pytest.raises(ValueError, match="has 7 pixels, the most is 6"):
        only_image(tmp_path / "grey", over)
