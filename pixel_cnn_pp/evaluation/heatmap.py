"""Heat maps: the bits of every pixel of given images, as a PNG sheet and an NPZ."""

import math

import numpy as np

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.evaluation import lettering
from pixel_cnn_pp.model import PixelCNNPP

# From few to many bits: dark to light in equal steps of lightness (CIE L*), RGB.
ANCHORS = np.array(
    [
        [0, 0, 32],
        [59, 12, 109],
        [137, 29, 118],
        [209, 61, 87],
        [251, 120, 42],
        [255, 190, 51],
        [251, 250, 190],
    ]
)
PERCENTILE = 99  # Of the pixels shown, at which the scale ends: a few are far above.
UNIT = "bits per pixel"
LETTER = 2  # Pixels of a dot of the scale's lettering.
WIDTH = LETTER * 4 * (len(UNIT) + 4)  # Of the scale, at least.
BAR = 10  # Pixels that the scale's bar is high.


def colours(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values [...] as uint8 [..., 3]; those outside low … high like its ends."""
    place = np.clip((values - low) / (high - low), 0, 1) * (len(ANCHORS) - 1)
    channels = [np.interp(place, range(len(ANCHORS)), ANCHORS[:, c]) for c in range(3)]
    return np.round(np.stack(channels, -1)).astype(np.uint8)


def round_away(value: float) -> float:
    """To two digits, away from 0: 13.21 to 14, 0.123 to 0.13."""
    if value == 0:
        return 0.0
    digits = 1 - math.floor(math.log10(abs(value)))
    rounded = math.ceil(round(abs(value) * 10.0**digits, 6)) / 10.0**digits
    return math.copysign(rounded, value)


def scale_ends(bits: np.ndarray, high: float | None) -> tuple[float, float]:
    """Lowest and highest bits of the scale: 0, or below where a density says so, and
    what holds PERCENTILE of the pixels unless `high` is given."""
    low = round_away(min(0.0, float(np.percentile(bits, 100 - PERCENTILE))))
    if high is None:
        high = round_away(float(np.percentile(bits, PERCENTILE)))
    return low, high if high > low else low + 1.0


def draw_scale(low: float, high: float, width: int) -> np.ndarray:
    """The bar of colours with its numbers, uint8 [H, `width`, 3]."""
    letters = LETTER * lettering.HEIGHT
    strip = np.full((BAR + letters + 3 * LETTER, width, 3), 255, np.uint8)
    ramp = np.linspace(low, high, width - 2 * LETTER)
    strip[LETTER : LETTER + BAR, LETTER:-LETTER] = colours(ramp, low, high)
    top = BAR + 2 * LETTER
    texts = [f"{low:.2g}", UNIT, f"{high:.6g}"]
    widths = [LETTER * (4 * len(text) - 1) for text in texts]
    lefts = [LETTER, (width - widths[1]) // 2, width - LETTER - widths[2]]
    for text, left in zip(texts, lefts, strict=True):
        lettering.write(strip, top, left, text, LETTER)
    return strip


def draw_sheet(
    originals: np.ndarray, bits: np.ndarray, low: float, high: float, scale: int
) -> np.ndarray:
    """Each of the images, uint8 [N, H, W, C], beside its map; the scale below."""
    n, h, w, c = originals.shape
    grey_or_rgb = originals if c == 3 else originals[..., :1].repeat(3, axis=-1)
    pairs = np.stack([grey_or_rgb, colours(bits, low, high)], axis=1)
    columns = 2 * math.ceil(math.sqrt(n / 2))
    sheet = image_ops.tile(pairs.reshape(2 * n, h, w, 3), min(columns, 2 * n))
    sheet = image_ops.enlarge(sheet, scale)
    width = max(WIDTH, sheet.shape[1])
    right = [[0, 0], [0, width - sheet.shape[1]], [0, 0]]
    sheet = np.pad(sheet, right, constant_values=255)
    return np.concatenate([sheet, draw_scale(low, high, width)])


def draw_heatmaps(
    model: PixelCNNPP,
    images,
    n: int,
    path: str,
    batch_size: int,
    high: float | None = None,
    scale: int = 1,
) -> tuple[int, float, float]:
    """Maps of the first n images of a source; writes path.png and path.npz.

    The NPZ holds originals uint8 [n, H, W, C] and bits float32 [n, H, W], those of all
    channels of a pixel together. Returns how many images there were and the ends of the
    scale, of which `high` can be set.
    """
    originals, bits = [], []
    for batch in images.examples().take(n).batch(batch_size).as_numpy_iterator():
        levels = np.asarray(image_ops.quantize(batch["image"], model.num_levels))
        labels = None if model.num_labels is None else batch["label"]
        nats = -model.log_prob_per_pixel(levels, labels).numpy()
        originals.append(levels)
        bits.append(nats / np.float32(math.log(2.0)))
    originals, bits = np.concatenate(originals), np.concatenate(bits)
    low, high = scale_ends(bits, high)
    shown = image_ops.to_8_bit(originals, model.num_levels)
    sheet = draw_sheet(shown, bits, low, high, scale)
    image_ops.write_grid(path, sheet, originals=originals, bits=bits)
    return len(originals), low, high
