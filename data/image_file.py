"""One image file: its pixels as Pillow decodes them, and which files are rejected.

The contents decide on the format, not the name. An image is grey, [H, W, 1], or RGB,
[H, W, 3]; it is turned as its EXIF orientation says.

- Of an animation or of several pages the first is read.
- Alpha is dropped: under full transparency the stored colour is kept.
- Palettes, CMYK and YCbCr become RGB; colour profiles are not applied.
- Of 12 or 16 bits the upper 8 are kept. Integers of 32 bits, signed integers, floats
  and LAB are rejected.

The size is checked before anything is decoded. A JPEG has no checksum, so that damage
within its data can go unnoticed.
"""

import errno
import io
import os
import stat
import warnings

import numpy as np
import tensorflow as tf

from data.source import DAMAGE

try:
    from PIL import Image, ImageOps
except ImportError:
    Image = None

EXTENSIONS = tuple(".png .jpg .jpeg .jpe .jfif .bmp .gif .webp .tif .tiff".split())
# Pillow's other formats are not tried: some of them start programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
MAX_PIXELS = 1 << 26  # 8192×8192.
MAX_BYTES = 1 << 29  # As many as MAX_PIXELS of four channels of 16 bits.
MAX_SCANS = 100  # Of a progressive JPEG, which has some ten.
# Errors that will be the same tomorrow, unlike those of a failing disk: broken links,
# loops of links, files of somebody else.
LASTING = (errno.ENOENT, errno.ELOOP, errno.EACCES)
# Tags of TIFF; PHOTOMETRIC where 0 is white, PLANAR where each channel is a plane.
PHOTOMETRIC, PLANAR, TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT = 262, 284, 322, 323, 339
WHITE_IS_ZERO, SEPARATE = 0, 2

# Pillow warns of sizes that are checked here, and of faults in metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")


def check_pillow() -> None:
    """Raises ValueError where Pillow is not installed."""
    if Image is None:
        raise ValueError(
            "data set folder reads images with Pillow, which is not installed; run "
            "pip install -e '.[images]'."
        )


def read_bytes(path: str) -> bytes:
    """Contents of a file that can hold an image. Raises as `read` does."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"has {status.st_size} bytes, the most is {MAX_BYTES}")
        with open(path, "rb") as file:
            contents = file.read(MAX_BYTES)
    except OSError as error:
        if error.errno not in LASTING:
            raise
        raise ValueError(f"cannot be opened, {error.strerror}") from error
    if not contents:
        raise ValueError("is empty")
    return contents


def read(path: str, count_rows: bool = False) -> tuple[np.ndarray, bool]:
    """Pixels uint8 [H, W, 1 or 3] of a file, and whether they had 16 bits.

    With `count_rows` a PNG with missing rows is rejected too, which takes two thirds
    longer.

    Raises ValueError, whose text says what is wrong with the file ('is empty'), and
    OSError where the disk fails.
    """
    contents = read_bytes(path)
    try:
        with Image.open(io.BytesIO(contents), formats=FORMATS) as image:
            problem = find_problem(image, contents)
            if problem is None:
                image.verify()  # The checksums of a PNG.
                if count_rows and image.format == "PNG":
                    tf.io.decode_png(contents)  # Pillow takes missing rows for black.
        if problem is None:
            # Opened again: after verify() an image cannot be decoded.
            with Image.open(io.BytesIO(contents), formats=FORMATS) as image:
                return decode(image)
    except Image.DecompressionBombError:
        problem = f"has more than {MAX_PIXELS} pixels"
    except (*DAMAGE, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            "cannot be read as an image, it is damaged or no PNG, JPEG, BMP, GIF, WebP "
            "or TIFF"
        ) from error
    raise ValueError(problem)


def find_problem(image: "Image.Image", contents: bytes) -> str | None:
    """Why an image, opened and not yet decoded, is rejected; None for a good one."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return f"has more than {MAX_PIXELS} pixels"
    if image.format == "TIFF":
        stored, declared = count_pixels(image)
        if stored < declared:
            return f"has {stored} of its {declared} pixels"
        tile = [image.tag_v2.get(tag, 1) for tag in (TILE_WIDTH, TILE_LENGTH)]
        if tile[0] * tile[1] > MAX_PIXELS:
            return f"has tiles of more than {MAX_PIXELS} pixels"
        if 2 in image.tag_v2.get(SAMPLE_FORMAT, ()):
            return "has signed integers, best saved as grey or RGB of 8 bits"
    scans = contents.count(b"\xff\xda")
    if image.format in ("JPEG", "MPO") and scans > MAX_SCANS:
        return f"has {scans} scans, the most is {MAX_SCANS}"
    if image.mode in ("I", "F", "LAB"):
        return f"has Pillow's mode {image.mode}, best saved as grey or RGB of 8 bits"
    return None


def count_pixels(image: "Image.Image") -> tuple[int, int]:
    """Pixels that strips and tiles of a TIFF hold, and pixels that it declares, both
    over all planes. Pillow takes missing ones for black."""
    width, height = image.size
    planes = len(image.getbands()) if image.tag_v2.get(PLANAR) == SEPARATE else 1
    declared = planes * width * height
    if any(tile.codec_name == "libtiff" for tile in image.tile):
        return declared, declared  # libtiff checks them itself.
    boxes = (tile.extents for tile in image.tile)
    return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes), declared


def decode(image: "Image.Image") -> tuple[np.ndarray, bool]:
    """Pixels uint8 [H, W, 1 or 3] of an open image, and whether they had 16 bits."""
    raw_mode = raw_mode_of(image)
    num_bits = 12 if ";12" in raw_mode else 16
    is_negative = image.format == "TIFF" and image.mode.startswith("I;16")
    is_negative = is_negative and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        pixels = (np.asarray(image) >> (num_bits - 8)).astype(np.uint8)
        # Pillow itself inverts images of 8 bits or fewer only.
        pixels = 255 - pixels if is_negative else pixels
    elif image.mode in ("1", "L", "LA") or raw_mode.startswith("LA"):
        pixels = np.asarray(image.convert("L"))
    else:
        pixels = np.asarray(image.convert("RGB"))
    is_16_bit = ";16" in raw_mode and not raw_mode.startswith("BGR")
    return pixels.reshape(*pixels.shape[:2], -1), is_16_bit


def raw_mode_of(image: "Image.Image") -> str:
    """Pillow's name of how pixels are stored, such as 'RGB;16B'.

    To be called before the image is decoded, which clears it."""
    arguments = image.tile[0].args if image.tile else ()
    return arguments if isinstance(arguments, str) else str((*arguments, "")[0])
