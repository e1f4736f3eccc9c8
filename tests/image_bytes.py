"""Image files, many of them made by hand, and images like photographs."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def png_chunk(kind, body):
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def png(width, height, depth, kind, rows, *chunks):
    """`rows` are the bytes of each row, each row's filter, 0, first."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = png_chunk(b"IHDR", head) + b"".join(chunks)
    body += png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg(levels, adobe=None, side=8, more_scans=0):
    """One block of one level, 0 … 255, for each component; `adobe`: the transform.

    `more_scans` make it a progressive JPEG, one scan for DC and so many that hold
    nothing.
    """
    n = len(levels)

    def segment(marker, body):
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body

    def scan(components, spectrum, bits):
        body = bytes([len(components)]) + b"".join(bytes([c, 0]) for c in components)
        bits += "1" * (-len(bits) % 8)
        data = int(bits, 2).to_bytes(len(bits) // 8, "big")
        return segment(0xDA, body + spectrum + b"\0") + data.replace(b"\xff", b"\xff\0")

    start = 0xC2 if more_scans else 0xC0
    ids = range(1, n + 1)
    file = b"\xff\xd8"
    if adobe is not None:
        file += segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, adobe))
    file += segment(0xDB, b"\0" + b"\1" * 64)
    frame = struct.pack(">BHHB", 8, side, side, n)
    file += segment(start, frame + b"".join(bytes([i, 0x11, 0]) for i in ids))
    # Codes of the DC differences: 4 bits, their number of bits. Of AC: 0, the end.
    file += segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12)))
    file += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")
    bits = ""
    for level in levels:
        dc = (level - 128) * 8
        size = abs(dc).bit_length()
        bits += f"{size:04b}"
        if size:
            bits += f"{dc if dc > 0 else dc + (1 << size) - 1:0{size}b}"
        bits += "" if more_scans else "0"
    file += scan(ids, b"\0\0" if more_scans else b"\0\x3f", bits)
    for _ in range(more_scans):
        file += scan([1], b"\1\x3f", "0")
    return file + b"\xff\xd9"


def bmp(image, compression=0, palette=b""):
    """A BMP of uint8 [H, W, 1 … 4]: rows from the bottom, blue first, padded."""
    h, w, channels = image.shape
    padded = np.zeros((h, -(-w * channels // 4) * 4), np.uint8)
    order = [2, 1, 0, 3][:channels] if channels > 2 else [*range(channels)]
    padded[:, : w * channels] = image[::-1, :, order].reshape(h, -1)
    start = 54 + len(palette)
    sizes = struct.pack("<IiiHH", 40, w, h, 1, 8 * channels)
    sizes += struct.pack(
        "<IIiiII", compression, padded.size, 0, 0, len(palette) // 4, 0
    )
    head = b"BM" + struct.pack("<IHHI", start + padded.size, 0, 0, start)
    return head + sizes + palette + padded.tobytes()


RED, BLACK = b"\x02D\x01\0", b"\x02L\x01\0"  # Frames of one pixel, compressed.


def gif(*frames, width=1, height=1, transparent=None):
    """Colours are red and black; all frames are as large as the picture."""
    file = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
    file += b"\xff\0\0\0\0\0"
    for frame in frames:
        if transparent is not None:
            file += b"!\xf9\x04" + bytes([1, 0, 0, transparent]) + b"\0"
        file += b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02" + frame
    return file + b";"


def natural(seed, h=40, w=56, channels=3):
    """uint8 [H, W, C] like a photograph: smooth fields, edges of objects and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    image = np.zeros((h, w, channels))
    for scale in (2, 4, 8, 16):
        waves = rng.normal(size=(4, channels)) * 60 / scale
        angles = rng.uniform(0, 2 * np.pi, 4)
        for wave, angle in zip(waves, angles, strict=True):
            phase = (np.cos(angle) * x / w + np.sin(angle) * y / h) * scale + angle
            image += np.sin(2 * np.pi * phase)[..., None] * wave
    for _ in range(5):
        cy, cx, radius = rng.uniform(0, h), rng.uniform(0, w), rng.uniform(4, 12)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        image[inside] += rng.normal(size=channels) * 70
    image += rng.normal(size=image.shape) * 4
    return np.clip(image + 128, 0, 255).round().astype(np.uint8)


def tiff_of_planes(*levels):
    """8×8 pixels, RGB; red, green and blue lie one after the other, of one level each.

    Fewer than three levels make a file that lacks planes.
    """
    n, size = len(levels), 64
    # After the header and ten tags of 12 bytes: bits of a sample, offsets, lengths.
    at = 8 + 2 + 10 * 12 + 4
    pixels = at + 6 + 8 * n
    tags = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 3, at), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2), (273, 4, n, at + 6), (277, 3, 1, 3), (278, 4, 1, 8)]
    tags += [(279, 4, n, at + 6 + 4 * n), (284, 3, 1, 2)]
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    offsets = [pixels + size * i for i in range(n)]
    values = struct.pack(f"<3H{2 * n}I", 8, 8, 8, *offsets, *[size] * n)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4)
    return head + values + b"".join(bytes([level]) * size for level in levels)


def encoded(image, kind, **options):
    """The bytes of a file of Pillow's, of uint8 or uint16 [H, W] or [H, W, C]."""
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()
