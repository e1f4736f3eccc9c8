"""One image file from anywhere: what is read of it, and what is refused.

The contents decide on the kind, not the name. Only colours are kept: alpha is dropped,
and colour profiles, gamma and the orientation of cameras are not looked at.

- PNG: of a palette its colours; of 16 bits the upper 8; of an animation the picture
  that viewers without animations show. Under full transparency stands what is stored.
- JPEG: of CMYK and YCCK the product of what ink and black leave, c · k / 255. It has no
  checksum, so that damage within its data can go unnoticed.
- GIF: the first frame, transparent pixels black.
- BMP: 24 or 32 bits uncompressed, or 8 bits of grey. Of palettes and compressed ones
  TensorFlow would take the numbers for grey levels or colours, so they are refused.

Refused besides: anything else (WebP, TIFF, …), what is damaged, what is no regular file
or empty, and what would fill the memory: MAX_PIXELS, of all frames of an animation
together, MAX_BYTES and MAX_SCANS bound it before anything is decoded.
"""

import os
import stat
import struct

import tensorflow as tf

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
MAX_PIXELS = 1 << 26  # 8192×8192.
MAX_BYTES = 1 << 29  # More than MAX_PIXELS take uncompressed.
MAX_SCANS = 100  # Of a progressive JPEG, which has some ten.
GREY_PALETTE = b"".join(bytes([i, i, i, 0]) for i in range(256))


def decode(contents: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, C] of a file's bytes; of an animation, the first frame."""
    return tf.io.decode_image(contents, expand_animations=False)


def set_channels(image: tf.Tensor, channels: int) -> tf.Tensor:
    """Grey (with alpha or not) or colour [H, W, 1 … 4] to 1 or 3 channels, no alpha."""
    is_grey = tf.shape(image)[-1] <= 2
    colours = tf.where(is_grey, [0, 0, 0], [0, 1, 2])
    return tf.gather(image, colours[:channels], axis=-1)  # [H, W, channels]


def shape(path: str) -> tuple[int, int, int]:
    """(H, W, C) of an image file that is decoded for it.

    Raises ValueError, whose text is what the file is or has ('is empty'), where it is
    refused, and OSError where the system does not give it.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is no regular file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"has {status.st_size} bytes, the most is {MAX_BYTES}")
    with open(path, "rb") as file:
        contents = file.read(MAX_BYTES)
    if not contents:
        raise ValueError("is empty")
    try:
        pixels = count_pixels(contents)
        if pixels > MAX_PIXELS:
            raise ValueError(f"has {pixels} pixels, the most is {MAX_PIXELS}")
        return tuple(decode(contents).shape)
    except (struct.error, IndexError, tf.errors.InvalidArgumentError) as error:
        raise ValueError("cannot be read as an image, it is damaged") from error


def count_pixels(contents: bytes) -> int:
    """How many pixels the decoder would make room for, by the header of its kind."""
    if contents.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack_from(">II", contents, 16)
        return width * height
    if contents.startswith(b"\xff\xd8\xff"):
        scans = contents.count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise ValueError(f"has {scans} scans, the most is {MAX_SCANS}")
        height, width, _ = tf.image.extract_jpeg_shape(contents).numpy().tolist()
        return width * height
    if contents.startswith((b"GIF87a", b"GIF89a")):
        return count_gif_pixels(contents)
    if contents.startswith(b"BM"):
        return count_bmp_pixels(contents)
    raise ValueError("cannot be read as an image, it is no PNG, JPEG, GIF or BMP")


def count_gif_pixels(contents: bytes) -> int:
    """Pixels of all frames, which are decoded even where only the first is kept."""

    def colours(flags: int) -> int:
        return 3 << (flags % 8 + 1) if flags & 0x80 else 0

    pixels, at = 0, 13 + colours(contents[10])
    while contents[at : at + 1] in (b",", b"!"):
        if contents[at] == ord(","):
            width, height, flags = struct.unpack_from("<HHB", contents, at + 5)
            pixels += width * height
            at += 11 + colours(flags)
        else:
            at += 2
        while at < len(contents) and contents[at]:
            at += 1 + contents[at]
        at += 1
    return pixels


def count_bmp_pixels(contents: bytes) -> int:
    """Pixels of a bitmap of a kind that is decoded rightly; others are refused."""
    start, size = struct.unpack_from("<II", contents, 10)
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", contents, 18)
    palette = contents[14 + size : start]
    is_grey = depth == 8 and palette and GREY_PALETTE.startswith(palette)
    if size < 40 or compression or not (is_grey or depth in (24, 32)):
        raise ValueError(
            "is a BMP with a palette, compressed or of a rare kind, best saved as PNG"
        )
    return abs(width * height)
