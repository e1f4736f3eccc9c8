"""The mask of --inpaint_mask: which pixels of the images are kept."""

import os
import struct

import numpy as np
import tensorflow as tf

SIGNATURE = b"\x89PNG\r\n\x1a\n"
REMEDY = (
    "save the mask as a PNG of black and white pixels, without smoothing or EXIF data"
)


def read_mask(path: str, size: tuple[int, int]) -> np.ndarray:
    """True where a pixel is kept, bool [H, W], of a black and white PNG: white is kept.

    `size` is (H, W) of the images. Raises OSError where the file cannot be read, and
    ValueError for another size, other colours, EXIF data, and a mask of one colour.
    """
    value = f"--inpaint_mask={path}"
    # A pipe would be waited for; open() itself names a folder and a missing file.
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise ValueError(f"{value}: is no regular file; give a PNG.")
    try:
        with open(path, "rb") as file:
            contents = file.read()
    except OSError as error:
        raise OSError(f"{value}: {error.strerror}; give a PNG.") from error
    if not contents.startswith(SIGNATURE) or len(contents) < 24:
        raise ValueError(f"{value}: is no PNG; {REMEDY}.")
    # Before it is decoded: a small file can declare a very large picture.
    width, height = struct.unpack(">II", contents[16:24])
    if (height, width) != tuple(size):
        raise ValueError(
            f"{value}: is {height}×{width}, and the images are {size[0]}×{size[1]}; "
            "give a mask with a pixel for each of theirs."
        )
    if b"eXIf" in contents:
        raise ValueError(f"{value}: has EXIF data, which can turn it; {REMEDY}.")
    try:
        pixels = tf.io.decode_png(contents).numpy()  # [H, W, C]
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"{value}: is a damaged PNG; {REMEDY}.") from error
    if pixels.shape[-1] in (2, 4):
        pixels, opacity = pixels[..., :-1], pixels[..., -1]
        if opacity.min() < 255:
            raise ValueError(f"{value}: has transparent pixels; {REMEDY}.")
    is_white = (pixels == 255).all(axis=-1)
    is_black = (pixels == 0).all(axis=-1)
    if not (is_white | is_black).all():
        row, column = np.argwhere(~(is_white | is_black))[0].tolist()
        raise ValueError(
            f"{value}: the pixel in row {row}, column {column} is "
            f"{pixels[row, column].tolist()}, neither black nor white; {REMEDY}."
        )
    if is_white.all() or is_black.all():
        problem = "white, so nothing is sampled"
        if is_black.all():
            problem = "black, so nothing is kept"
        raise ValueError(
            f"{value}: is all {problem}; paint what to keep white and what to sample "
            "black."
        )
    return is_white
