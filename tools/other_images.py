"""Images of other kinds than the embedded shapes, for a model trained on these.

`python tools/other_images.py --output_dir=DIR` writes an .npz for each of KINDS
that `evaluate.py -d npz` reads.
"""

import os
import pathlib
import sys

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import cli  # Before TensorFlow: it sets its log level.
from data import shapes
from pixel_cnn_pp.files import check_folder_writable, open_atomic

cli.DEFINE_path("output_dir", "Folder for the files.")
flags.DEFINE_integer(
    "image_size", 16, "Side of the images in pixels.", lower_bound=8, upper_bound=512
)
flags.DEFINE_integer("num_images", 1000, "Of each kind, at most 1000.", 1, 1000)
FLAGS = flags.FLAGS


def upside_down(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image[::-1]


def negative(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - image


def blurred(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean of 3×3 pixels."""
    size = len(image)
    padded = np.pad(image, [[1, 1], [1, 1], [0, 0]], "edge").astype(np.float64)
    parts = [padded[i : i + size, j : j + size] for i in range(3) for j in range(3)]
    return np.round(sum(parts) / 9).astype(np.uint8)


def gradient(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """From one random colour on the left to another on the right; nothing else."""
    left, right = rng.integers(0, 256, (2, 3))
    share = np.linspace(0, 1, len(image))[None, :, None]
    row = np.round(left + share * (right - left)).astype(np.uint8)
    return np.repeat(row, len(image), axis=0)


def clouds(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random colours at 5×5 points, interpolated between them."""
    place = np.linspace(0, 4, len(image))
    weights = np.maximum(0, 1 - abs(place[:, None] - np.arange(5)))  # [H, 5]
    colours = rng.integers(0, 256, (5, 5, 3))
    mixed = np.einsum("yi,xj,ijc->yxc", weights, weights, colours)
    return np.round(mixed).astype(np.uint8)


def speckled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One pixel in a hundred of a random colour: dust on the lens."""
    dust = rng.random(image.shape[:2]) < 0.01
    return np.where(dust[..., None], rng.integers(0, 256, image.shape), image).astype(
        np.uint8
    )


KINDS = (clouds, speckled, negative, upside_down, blurred, gradient)


def make(kind, num_images: int, size: int) -> np.ndarray:
    """Images of a kind, uint8 [N, size, size, 3]; most are changed shapes."""
    rng = np.random.default_rng([KINDS.index(kind), size])
    images = [shapes.draw("test", i, size) for i in range(num_images)]
    return np.stack([kind(image, rng) for image in images])


def main(argv):
    with cli.errors_in_one_line():
        if not FLAGS.output_dir:
            raise ValueError("--output_dir: give the folder for the files.")
        check_folder_writable("output_dir", FLAGS.output_dir)
        paths = [os.path.join(FLAGS.output_dir, f"{k.__name__}.npz") for k in KINDS]
        for path in filter(os.path.lexists, paths):
            raise ValueError(
                f"--output_dir={FLAGS.output_dir}: {path} exists; give another folder."
            )
        os.makedirs(FLAGS.output_dir, exist_ok=True)
        for kind, path in zip(KINDS, paths, strict=True):
            images = make(kind, FLAGS.num_images, FLAGS.image_size)
            with open_atomic(path, "wb") as file:
                np.savez(file, test_images=images)
            print(path)


if __name__ == "__main__":
    cli.run(main)
