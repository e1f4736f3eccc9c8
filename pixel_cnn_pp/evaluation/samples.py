"""Drawing to files: samples and completions as a PNG sheet and an NPZ."""

from collections.abc import Callable, Sequence

import numpy as np

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.evaluation import lettering
from pixel_cnn_pp.model import PixelCNNPP

SHOWN = 100  # Images of a sheet; the NPZ holds all.
UNKNOWN = 128  # Level of 256 that stands for pixels which are not kept.


def tile_by_label(images: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """A row of the sheet for each label, the number before it: uint8 [H′, W′, C].

    Of the images, uint8 [N, H, W, C], number i has labels[i % len(labels)].
    """
    n, h, w, c = images.shape
    rows, columns = min(n, len(labels)), -(-n // len(labels))
    cells = np.full((rows, columns, h, w, c), 255, np.uint8)
    for i, image in enumerate(images):
        cells[i % len(labels), i // len(labels)] = image
    sheet = image_ops.tile(cells.reshape(-1, h, w, c), columns)
    if h < lettering.HEIGHT:
        return sheet
    texts = [str(label) for label in labels[:rows]]
    margin = 1 + 4 * max(map(len, texts))
    sheet = np.pad(sheet, [[0, 0], [margin, 0], [0, 0]], constant_values=255)
    for row, text in enumerate(texts):
        top = 1 + row * (h + 1) + (h - lettering.HEIGHT) // 2
        lettering.write(sheet, top, margin - 4 * len(text), text)
    return sheet


def draw_samples(
    model: PixelCNNPP,
    n: int,
    path: str,
    seed: tuple[int, int],
    temperature: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    rows: Sequence[int] | None = None,
    scale: int = 1,
) -> np.ndarray:
    """Draws n images and writes path.png and path.npz; returns those of the sheet.

    Labels of a class-conditional model take turns, as in the official code: all of
    them, or those of `rows`, each of which then has a row of the sheet. The NPZ holds
    images uint8 [n, H, W, C] and, where there are any, labels [n].
    """
    arrays = {}
    if model.num_labels is not None:
        turns = np.arange(model.num_labels) if rows is None else np.asarray(rows)
        arrays["labels"] = turns[np.arange(n) % len(turns)]
    images = model.sample(n, arrays.get("labels"), seed, temperature, progress).numpy()
    shown = image_ops.to_8_bit(images[:SHOWN], model.num_levels)
    sheet = image_ops.tile(shown) if rows is None else tile_by_label(shown, rows)
    image_ops.write_grid(path, image_ops.enlarge(sheet, scale), images=images, **arrays)
    return shown


def complete(
    model: PixelCNNPP,
    images,
    n: int,
    rows: int,
    num_completions: int,
    seed: tuple[int, int],
    temperature: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The first n images of a source, uint8 [n, H, W, C], or all where there are fewer,
    and M completions of each, uint8 [n, M, H, W, C]."""
    examples = list(images.examples().take(n).as_numpy_iterator())
    originals = np.stack([example["image"] for example in examples])
    originals = np.asarray(image_ops.quantize(originals, model.num_levels))
    repeated = np.repeat(originals, num_completions, axis=0)
    labels = None
    if model.num_labels is not None:
        labels = np.repeat([example["label"] for example in examples], num_completions)
    completed = model.complete(
        repeated, rows, labels, seed, temperature, progress=progress
    ).numpy()
    return originals, completed.reshape(len(originals), -1, *model.image_shape)


def sheet_of_completions(
    model: PixelCNNPP, originals: np.ndarray, completions: np.ndarray, rows: int
) -> np.ndarray:
    """What `complete` gives as uint8 [n · (M + 2), H, W, C] of 8 bits: of each image
    the original, the part that is kept, the completions."""
    shown = np.concatenate(
        [originals[:, None], originals[:, None], completions], axis=1
    )
    shown = image_ops.to_8_bit(shown, model.num_levels)
    shown[:, 1, rows:] = UNKNOWN
    return shown.reshape(-1, *model.image_shape)


def draw_completions(
    model: PixelCNNPP,
    images,
    n: int,
    rows: int,
    num_completions: int,
    path: str,
    seed: tuple[int, int],
    temperature: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    scale: int = 1,
) -> int:
    """Completes the first n images of a source M times; writes path.png and path.npz.

    A row of the sheet is one image. The NPZ holds originals uint8 [n, H, W, C] and
    completions uint8 [n, M, H, W, C]. Returns how many images there were.
    """
    originals, completions = complete(
        model, images, n, rows, num_completions, seed, temperature, progress
    )
    shown = sheet_of_completions(model, originals, completions, rows)
    sheet = image_ops.tile(shown, num_completions + 2)
    image_ops.write_grid(
        path,
        image_ops.enlarge(sheet, scale),
        originals=originals,
        completions=completions,
    )
    return len(originals)
