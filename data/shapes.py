"""Shapes: coloured shapes on textured grounds, each made when it is read.

The scene is laid out in the unit square, so image i is the same scene at every size.
Every operation on pixels is exactly rounded (no sine, no power), and random numbers are
plain uniform ones: the images are the same bytes on every machine.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from data.source import SPLITS, ChunkedSource

NUM_IMAGES = {"train": 10_000, "test": 1_000}
SHAPES = ("disc", "square", "triangle", "ring", "cross")  # The label is the index.
GROUNDS = ("gradient", "stripes", "checks", "grain")
DEFAULT_SIZE = 32
MIN_SIZE, MAX_SIZE = 8, 1024


@functools.cache
def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres y [size, 1] and x [1, size] in the unit square."""
    centres = (np.arange(size) + 0.5) / size
    return centres[:, None], centres[None, :]


def rotation(u: float) -> tuple[float, float]:
    """Cosine and sine of an angle in -90° … 90°, for u in 0 … 1."""
    t = 2 * u - 1
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB in 0 … 1, float64 [3], of a hue on a circle of length 1."""
    distance = np.abs((hue - np.array([0, 1 / 3, 2 / 3]) + 0.5) % 1 - 0.5)
    return value * (1 - saturation * np.clip(6 * distance - 1, 0, 1))


def wave(x: np.ndarray, width: float) -> np.ndarray:
    """Square wave of period 1 in 0 … 1 whose edges are `width` wide."""
    triangle = np.abs((x % 1) - 0.5) - 0.25
    return np.clip(0.5 + triangle / width, 0, 1)


def ground(kind: str, size: int, u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much of the second ground colour each pixel has, 0 … 1, float64 [H, W]."""
    y, x = grid(size)
    cos, sin = rotation(u[0])
    along = cos * x + sin * y
    across = cos * y - sin * x
    if kind == "gradient":
        return np.clip((along - 0.5) * (0.6 + 0.4 * u[1]) + 0.5, 0, 1)
    if kind == "grain":
        return np.clip(0.25 + 0.5 * u[1] * y + 0.25 * rng.random((size, size)), 0, 1)
    frequency = 2.0 + 2.0 * u[1]
    width = frequency / size  # One pixel, in periods.
    stripes = wave(frequency * along + u[2], width)
    if kind == "stripes":
        return stripes
    other = wave(frequency * across + u[3], width)
    return stripes + other - 2 * stripes * other


def outline(kind: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Distance to the shape of radius about 1, negative inside, float64 [H, W]."""
    if kind == "disc":
        return np.sqrt(x * x + y * y) - 0.9
    if kind == "ring":
        return np.abs(np.sqrt(x * x + y * y) - 0.72) - 0.24
    if kind == "triangle":
        slope = 0.8660254037844386
        return np.maximum(slope * np.abs(x) - 0.5 * y, y) - 0.5
    x, y = np.abs(x), np.abs(y)
    if kind == "square":
        return np.maximum(x, y) - 0.7
    return np.maximum(np.minimum(x, y) - 0.3, np.maximum(x, y) - 0.95)


def draw(split: str, index: int, size: int) -> np.ndarray:
    """Image `index` of a split, uint8 [size, size, 3]; its shape is index % 5."""
    rng = np.random.default_rng([SPLITS.index(split), index])
    u = rng.random(16)
    kind = SHAPES[index % len(SHAPES)]

    hue = u[0]
    first = colour(hue, 0.25 + 0.3 * u[1], 0.35 + 0.6 * u[2])
    second = colour(hue + 0.16 * (u[3] - 0.5), 0.25 + 0.3 * u[4], 0.35 + 0.6 * u[2])
    second = second * (0.62 + 0.2 * u[5])
    mix = ground(GROUNDS[int(u[6] * len(GROUNDS))], size, u[7:11], rng)
    picture = first + mix[:, :, None] * (second - first)  # [H, W, C]

    radius = 0.22 + 0.16 * u[11]
    y, x = grid(size)
    y = (y - radius - (1 - 2 * radius) * u[12]) / radius
    x = (x - radius - (1 - 2 * radius) * u[13]) / radius
    cos, sin = rotation(u[14])
    distance = outline(kind, cos * y - sin * x, cos * x + sin * y)
    cover = np.clip(0.5 - distance * radius * size, 0, 1)[:, :, None]
    paint = colour(hue + 0.3 + 0.4 * u[15], 0.8, 1.0 if u[2] < 0.5 else 0.8)
    light = 0.86 - 0.14 * np.clip(y + x, -1, 1)  # Lit from the upper left.
    picture += cover * (light[:, :, None] * paint - picture)
    return np.floor(picture * 255 + 0.5).astype(np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ShapesSource(ChunkedSource):
    """Images that are made from their index; nothing is kept."""

    def _take(self, indices: tf.Tensor) -> dict[str, tf.Tensor]:
        size = self.image_shape[0]

        def draw_all(indices: np.ndarray) -> np.ndarray:
            return np.stack([draw(self.split, int(i), size) for i in indices])

        images = tf.numpy_function(draw_all, [indices], tf.uint8)
        examples = {"image": tf.ensure_shape(images, (None, *self.image_shape))}
        if self.class_names is not None:
            examples["label"] = tf.cast(indices % len(SHAPES), tf.int32)
        return examples


def load(split: str, labels: bool, image_size: int | None) -> ShapesSource:
    """The embedded set, 32×32 by default; it needs no files."""
    size = DEFAULT_SIZE if image_size is None else image_size
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(
            f"image_size={size}: shapes have sizes from {MIN_SIZE}×{MIN_SIZE} to "
            f"{MAX_SIZE}×{MAX_SIZE}; use for example {DEFAULT_SIZE}."
        )
    return ShapesSource(
        name="shapes",
        split=split,
        image_shape=(size, size, 3),
        indices=np.arange(NUM_IMAGES[split]),
        class_names=SHAPES if labels else None,
    )
