"""Samples and completions of images, written as a PNG grid and NPZ files."""

import dataclasses
import unicodedata
from collections.abc import Sequence

import numpy as np

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import prng
from pixel_cnn_pp.evaluation import evaluator
from pixel_cnn_pp.evaluation.devices import Machine
from pixel_cnn_pp.evaluation.shards import Shards
from pixel_cnn_pp.images import ImageSet
from pixel_cnn_pp.model import PixelCNNPP, Progress

MAX_GRID_IMAGES = 100  # Samples in the PNG; the NPZ holds all.
UNKNOWN = 128  # Grey, of 0 … 255, for the pixels that are not kept.
# Cells of a grid before an image's completions: the image, and the part that is kept.
EXTRA_CELLS = 2


@dataclasses.dataclass(frozen=True)
class SampleSettings:
    """How images are sampled and shown.

    `seed`, `temperature` and `progress` are those of `PixelCNNPP.sample`; in a PNG each
    pixel is a square of `scale`×`scale`.
    """

    seed: tuple[int, int] = (0, 0)
    temperature: float = 1.0
    progress: Progress | None = None
    scale: int = 1


def parse_labels(given: list[str] | None, model: PixelCNNPP) -> list[int] | None:
    """The labels that --labels names by the model's class names, or by numbers; by
    default all of the model's, None if it has none.

    Raises ValueError where they are not the model's.
    """
    if given is None:
        return None if model.num_labels is None else list(range(model.num_labels))
    value = f"--labels={','.join(given)}"
    if model.num_labels is None:
        raise ValueError(f"{value}: this model has no labels; remove the flag.")
    names = model.class_names or ()
    # Class names are in this form, and a shell may give another.
    texts = [unicodedata.normalize("NFC", text) for text in given or [""]]
    try:
        # Where classes have numbers for names, a number is a name.
        by_name = any(name.isdecimal() for name in names)
        labels = [
            names.index(text) if by_name or text in names else int(text)
            for text in texts
        ]
    except ValueError as error:
        raise ValueError(
            f"{value}: must be class names or numbers with commas between them, for "
            "example 0,1,2"
            + (f"; the classes are {', '.join(names)}." if names else ".")
        ) from error
    if not all(0 <= label < model.num_labels for label in labels):
        raise ValueError(
            f"{value}: this model has the labels 0 to {model.num_labels - 1}; give "
            "some of these."
        )
    return labels


def parse_seed(parts: Sequence[str]) -> tuple[int, int]:
    """The seed of --seed=3 or --seed=3,4; ValueError for another."""
    numbers = [int(part) if part.isdecimal() else -1 for part in parts]
    if len(numbers) not in (1, 2) or not all(0 <= n < prng.LIMIT for n in numbers):
        raise ValueError(
            f"--seed={','.join(parts)}: must be one integer or two from 0 to "
            f"{prng.LIMIT - 1}, for example 3 or 3,4."
        )
    return prng.seed_of(numbers)


def label_text(label: int, class_names: tuple[str, ...] | None) -> str:
    """'3' or, where it has another name, '3 (cat)'."""
    if class_names is None or class_names[label] == str(label):
        return str(label)
    return f"{label} ({class_names[label]})"


def tile_rows(images: np.ndarray, num_rows: int) -> np.ndarray:
    """Grid, uint8 [H′, W′, C], in which image i stands in row i % num_rows."""
    n, *shape = images.shape
    rows, columns = min(n, num_rows), -(-n // num_rows)
    cells = np.full((columns * rows, *shape), 255, np.uint8)
    cells[:n] = images
    by_row = cells.reshape(columns, rows, *shape).swapaxes(0, 1)
    return image_ops.tile(by_row.reshape(-1, *shape), columns)


def samples_grid(
    images: np.ndarray, scale: int, row_labels: Sequence[int] | None
) -> np.ndarray:
    """Grid, uint8 [H′, W′, C], of 8-bit images, in which each label has a row."""
    grid = tile_rows(images, len(row_labels)) if row_labels else image_ops.tile(images)
    return image_ops.enlarge(grid, scale)


def save_samples(
    model: PixelCNNPP,
    n: int,
    path: str,
    settings: SampleSettings,
    row_labels: Sequence[int] | None = None,
) -> np.ndarray:
    """Samples n images; writes path.png and path.npz.

    A class-conditional model cycles through its labels as in the official code, or
    through `row_labels`, each of which is a row of the grid. The NPZ holds images uint8
    [n, H, W, C] and, if there are any, labels [n]. Returns the images in the grid.
    """
    arrays = {}
    if model.num_labels is not None:
        arrays["labels"] = np.resize(row_labels or np.arange(model.num_labels), n)
    images = model.sample(
        n, arrays.get("labels"), settings.seed, settings.temperature, settings.progress
    ).numpy()
    grid_images = image_ops.to_8_bit(images[:MAX_GRID_IMAGES], model.num_levels)
    grid = samples_grid(grid_images, settings.scale, row_labels)
    image_ops.write_grid(
        path, grid, images=images, num_levels=model.num_levels, **arrays
    )
    return grid_images


def sample_shards(
    model: PixelCNNPP, shards: Shards, settings: SampleSettings, machine: Machine
) -> int:
    """Samples and writes the shards of this machine that are not there yet.

    A shard is sampled by one device, and what it holds follows from its number and the
    settings alone. The machines take the shards in turn. Returns how many are those of
    this one.
    """
    n, size, labels = (
        shards.settings[name] for name in ("num_samples", "shard_images", "labels")
    )
    labels = None if labels is None else np.resize(labels, n)

    def make_sampler(model, check):
        def sample(number):
            images = slice(number * size, min((number + 1) * size, n))
            arrays = {} if labels is None else {"labels": labels[images]}
            sampled = model.sample(
                images.stop - images.start,
                arrays.get("labels"),
                settings.seed,
                settings.temperature,
                check,
                images.start,
            )
            arrays |= {"images": sampled.numpy(), "num_levels": model.num_levels}
            shards.write(number, **arrays)

        return sample

    ours = range(machine.index, shards.count, machine.count)
    with shards.locked(machine.index):
        missing = sorted(set(ours) & set(shards.missing()))
        done = len(ours) - len(missing)
        for _ in machine.map(model, make_sampler, missing, len(missing)):
            done += 1
            if settings.progress is not None:
                settings.progress(min(done * size, n), min(len(ours) * size, n))
    return len(ours)


def save_grid(model: PixelCNNPP, shards: Shards, path: str, scale: int) -> None:
    """Writes path.png, the first images of the shards."""
    number = min(-(-MAX_GRID_IMAGES // shards.settings["shard_images"]), shards.count)
    images = np.concatenate([shards.read(i)["images"] for i in range(number)])
    grid_images = image_ops.to_8_bit(images[:MAX_GRID_IMAGES], model.num_levels)
    grid = samples_grid(grid_images, scale, shards.settings["labels"])
    image_ops.write_png(f"{path}.png", grid)


def complete_images(
    model: PixelCNNPP,
    images: ImageSet,
    n: int,
    keep: np.ndarray,
    num_completions: int,
    settings: SampleSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """The first n images, uint8 [n, H, W, C], or all where there are fewer, and M
    completions of each, uint8 [n, M, H, W, C], that keep the pixels where `keep`, bool
    [H, W], is True."""
    originals, labels = evaluator.first_images(model, images, n)
    completions = model.complete(
        np.repeat(originals, num_completions, axis=0),
        labels=None if labels is None else np.repeat(labels, num_completions),
        seed=settings.seed,
        temperature=settings.temperature,
        mask=keep,
        progress=settings.progress,
    ).numpy()
    return originals, completions.reshape(len(originals), -1, *model.image_shape)


def completion_cells(
    model: PixelCNNPP, originals: np.ndarray, completions: np.ndarray, keep: np.ndarray
) -> np.ndarray:
    """Cells of a grid, uint8 [n · (EXTRA_CELLS + M), H, W, C]: for each image the
    original, the part that is kept, the completions."""
    cells = np.concatenate(
        [originals[:, None], originals[:, None], completions], axis=1
    )
    cells = image_ops.to_8_bit(cells, model.num_levels)
    cells[:, 1, ~keep] = UNKNOWN
    return cells.reshape(-1, *model.image_shape)


def save_completions(
    model: PixelCNNPP,
    images: ImageSet,
    n: int,
    keep: np.ndarray,
    num_completions: int,
    path: str,
    settings: SampleSettings,
) -> int:
    """Completes the first n images M times; writes path.png and path.npz.

    A row of the grid is one image. The NPZ holds originals uint8 [n, H, W, C] and
    completions uint8 [n, M, H, W, C]. Returns the number of images.
    """
    originals, completions = complete_images(
        model, images, n, keep, num_completions, settings
    )
    cells = completion_cells(model, originals, completions, keep)
    grid = image_ops.tile(cells, EXTRA_CELLS + num_completions)
    image_ops.write_grid(
        path,
        image_ops.enlarge(grid, settings.scale),
        originals=originals,
        completions=completions,
        num_levels=model.num_levels,
    )
    return len(originals)
