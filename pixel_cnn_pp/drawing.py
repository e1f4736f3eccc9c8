"""Drawing to files: samples and completions as a PNG sheet and an NPZ."""

from collections.abc import Callable

import numpy as np

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.model import PixelCNNPP
from pixel_cnn_pp.sampling import refuse_temperature

SHOWN = 100  # Images of a sheet; the NPZ holds all.
UNKNOWN = 128  # Level of 256 that stands for pixels which are not kept.


def refuse_settings(model: PixelCNNPP, temperature: float, seed: int) -> None:
    """Raises ValueError where nothing can be drawn at this temperature or seed."""
    refuse_temperature(model, temperature)
    if not 0 <= seed < 2**31:
        raise ValueError(f"--seed={seed}: must be from 0 to 2147483647.")


def refuse_rows(model: PixelCNNPP, rows: int) -> None:
    """Raises ValueError where no row would be left to complete."""
    height = model.image_shape[0]
    if rows >= height:
        raise ValueError(
            f"--complete_rows={rows}: the images have {height} rows, and one at least "
            "must be left to complete; give fewer."
        )


def draw_samples(
    model: PixelCNNPP,
    n: int,
    path: str,
    seed: tuple[int, int],
    temperature: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Draws n images and writes path.png and path.npz; returns those of the sheet.

    Labels of a class-conditional model take turns, as in the official code.
    """
    labels = np.arange(n) % model.num_labels if model.num_labels else None
    images = model.sample(n, labels, seed, temperature, progress).numpy()
    shown = image_ops.to_8_bit(images[:SHOWN], model.num_levels)
    image_ops.write_grid(path, shown, images=images)
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
) -> int:
    """Completes the first n images of a source M times; writes path.png and path.npz.

    A row of the sheet is one image. The NPZ holds originals uint8 [n, H, W, C] and
    completions uint8 [n, M, H, W, C]. Returns how many images there were.
    """
    originals, completions = complete(
        model, images, n, rows, num_completions, seed, temperature, progress
    )
    image_ops.write_grid(
        path,
        sheet_of_completions(model, originals, completions, rows),
        num_completions + 2,
        originals=originals,
        completions=completions,
    )
    return len(originals)
