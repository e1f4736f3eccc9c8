"""Heat maps: the bits of every pixel beside its image, as a PNG and an NPZ."""

import dataclasses
import math

import numpy as np

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.evaluation import evaluator
from pixel_cnn_pp.evaluation.ratio import Background
from pixel_cnn_pp.images import ImageSet
from pixel_cnn_pp.model import PixelCNNPP

PERCENTILE = 99  # Of the pixels, at which the colours end: a few are far above.


@dataclasses.dataclass(frozen=True)
class HeatmapSettings:
    """How heat maps are computed and shown.

    `batch_size`: images that are scored at a time. `high`: bits at which the colours
    end, see `colour_limits`. A pixel is a square of `scale`×`scale` in the PNG.
    """

    batch_size: int
    high: float | None = None
    scale: int = 1


def bits_per_pixel(
    model: PixelCNNPP, images: np.ndarray, labels: np.ndarray | None, batch_size: int
) -> np.ndarray:
    """Bits of each pixel, all its channels together, float32 [N, H, W]."""
    bits = []
    for first in range(0, len(images), batch_size):
        part = slice(first, first + batch_size)
        part_labels = None if labels is None else labels[part]
        nats = -model.log_prob_per_pixel(images[part], part_labels).numpy()
        bits.append(nats / np.float32(math.log(2.0)))
    return np.concatenate(bits)


def colour_limits(bits: np.ndarray, high: float | None = None) -> tuple[float, float]:
    """Bits at which the colours begin and end.

    0, or less for a density, whose bits can be negative; and `high`, by default what
    PERCENTILE of the pixels stay below.
    """
    low = min(0.0, float(np.percentile(bits, 100 - PERCENTILE)))
    if high is None:
        high = float(np.percentile(bits, PERCENTILE))
    return low, high if high > low else low + 1.0


def make_figure(
    images: np.ndarray,
    bits: np.ndarray,
    low: float,
    high: float,
    scale: int = 1,
    label: str = "bits per pixel",
):
    """A matplotlib figure of each image, uint8 [N, H, W, C], beside its bits [N, H, W].

    Pixels are squares of `scale`×`scale` pixels of the figure, not resampled.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    colors = ScalarMappable(Normalize(low, high), colormaps["inferno"])
    heat_maps = colors.cmap(colors.norm(bits), bytes=True)[..., :3]  # [N, H, W, 3]
    gap = np.full_like(heat_maps[:, :, :1], 255)
    images = np.broadcast_to(image_ops.visible(images), heat_maps.shape)
    pairs = np.concatenate([images, gap, heat_maps], axis=2)  # [N, H, 2W + 1, 3]
    columns = math.ceil(math.sqrt(len(pairs) / 2))
    grid = image_ops.enlarge(image_ops.tile(pairs, columns, border=2), scale)

    # In pixels. The text grows with a large grid; a small one leaves room for it.
    grid_height, grid_width = grid.shape[:2]
    dpi = max(100, grid_height // 5)
    height, width = max(grid_height, 3 * dpi // 2), grid_width + dpi
    # Half a pixel more, since matplotlib rounds down.
    size = (width + 0.5) / dpi, (height + 0.5) / dpi
    figure = Figure(size, dpi, facecolor="white")
    figure.figimage(grid, 0, height - grid_height, origin="upper")
    left, bottom = grid_width + 0.1 * dpi, 0.1 * dpi
    axes = figure.add_axes(
        [left / width, bottom / height, 0.15 * dpi / width, 1 - 2 * bottom / height]
    )
    extend = "both" if low < 0 else "max"
    figure.colorbar(colors, axes, extend=extend, label=label)
    return figure


def render(figure) -> np.ndarray:
    """The pixels of a matplotlib figure, uint8 [H, W, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save_heatmaps(
    model: PixelCNNPP,
    images: ImageSet,
    n: int,
    path: str,
    settings: HeatmapSettings,
    background: Background | None = None,
) -> tuple[int, float, float]:
    """Heat maps of the first n images; writes path.png and path.npz.

    The NPZ holds originals uint8 [n, H, W, C] and bits float32 [n, H, W]; with a
    background model they are the bits less its own, −log₂ of the likelihood ratio.
    Returns the number of images and the limits of the colours. Raises
    FloatingPointError where bits are NaN or infinite.
    """
    originals, labels = evaluator.first_images(model, images, n)
    bits = bits_per_pixel(model, originals, labels, settings.batch_size)
    label = "bits per pixel"
    if background is not None:
        _, labels = evaluator.first_images(*background, n)
        bits -= bits_per_pixel(background.model, originals, labels, settings.batch_size)
        label = "bits less background"  # A longer one overflows the smallest picture.
    evaluator.check_finite(bits)
    low, high = colour_limits(bits, settings.high)
    image_values = image_ops.to_8_bit(originals, model.num_levels)
    figure = make_figure(image_values, bits, low, high, settings.scale, label)
    image_ops.write_grid(
        path,
        render(figure),
        originals=originals,
        bits=bits,
        num_levels=model.num_levels,
    )
    return len(originals), low, high
