"""Samples and scores in shards: by all devices of all machines, and resumed."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import prng
from pixel_cnn_pp.evaluation.devices import Machine
from pixel_cnn_pp.evaluation.ratio import Background
from pixel_cnn_pp.evaluation.samples import (
    MAX_GRID_IMAGES,
    SampleSettings,
    cycled_labels,
    samples_grid,
)
from pixel_cnn_pp.evaluation.shards import Shards, model_id
from pixel_cnn_pp.images import ImageSet
from pixel_cnn_pp.memory import GIB
from pixel_cnn_pp.model import PixelCNNPP


def shards_of_samples(
    model: PixelCNNPP,
    n: int,
    size: int,
    output_dir: str,
    settings: SampleSettings,
    row_labels: Sequence[int] | None,
) -> Shards:
    """The files samples-00000.npz, … of n images, `size` in each."""
    job = {
        "model": model_id(model),
        "num_samples": n,
        "shard_images": size,
        "seed": settings.seed,
        "temperature": settings.temperature,
        "labels": row_labels,
    }
    return Shards(output_dir, "samples", -(-n // size), job, ("images",))


def check_room(output_dir: str, n: int, image_bytes: int) -> None:
    """Raises ValueError where the disk has no room for n images of so many bytes."""
    written, folder = 0, os.path.abspath(output_dir)
    if os.path.isdir(folder):
        with os.scandir(folder) as entries:
            written = sum(e.stat().st_size for e in entries if e.is_file())
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    room = shutil.disk_usage(folder).free + written
    # Images of a seed have numbers below the limit.
    most = min(room // image_bytes, prng.LIMIT - 1)
    if n > most:
        raise ValueError(
            f"--num_samples={n}: the samples take {n * image_bytes / GIB:.3g} GiB, and "
            f"there are {room / GIB:.3g} GiB for them in --output_dir={output_dir}; "
            f"give {most} or fewer."
        )


def save_samples(
    model: PixelCNNPP, shards: Shards, settings: SampleSettings, machine: Machine
) -> list[int]:
    """Samples and writes the shards of this machine that are not there yet.

    A shard is sampled by one device, and what it holds follows from its number and the
    settings alone. The machines take the shards in turn. Returns the numbers of those
    of this one.
    """
    n, size = shards.settings["num_samples"], shards.settings["shard_images"]
    labels = None
    if model.num_labels is not None:
        labels = cycled_labels(model, n, shards.settings["labels"])

    def prepare(model, check):
        def sample(number):
            images = slice(number * size, min((number + 1) * size, n))
            of_shard = None if labels is None else labels[images]
            sampled = model.sample(
                images.stop - images.start,
                of_shard,
                settings.seed,
                settings.temperature,
                check,
                images.start,
            )
            arrays = {} if labels is None else {"labels": of_shard}
            arrays |= {"images": sampled.numpy(), "num_levels": model.num_levels}
            shards.write(number, **arrays)

        return sample

    ours = range(machine.index, shards.count, machine.count)
    with shards.locked(machine.index):
        missing = sorted(set(ours) & set(shards.missing()))
        done = len(ours) - len(missing)
        for _ in machine.deal(model, prepare, missing, len(missing)):
            done += 1
            if settings.progress is not None:
                settings.progress(min(done * size, n), min(len(ours) * size, n))
    return list(ours)


def save_grid(model: PixelCNNPP, shards: Shards, path: str, scale: int) -> None:
    """Writes path.png, the first images of the shards."""
    size, parts = shards.settings["shard_images"], []
    for number in range(min(-(-MAX_GRID_IMAGES // size), shards.count)):
        parts.append(shards.read(number)["images"])
    images = np.concatenate(parts)[:MAX_GRID_IMAGES]
    shown = image_ops.to_8_bit(images, model.num_levels)
    grid = samples_grid(shown, scale, shards.settings["labels"])
    image_ops.write_png(f"{path}.png", grid)


def shards_of_scores(
    model: PixelCNNPP,
    images: ImageSet,
    split: str,
    batch_size: int,
    max_images: int | None,
    machine: Machine,
    output_dir: str,
    background: Background | None = None,
) -> Shards:
    """The files scores-00000.npz, …, one of each machine."""
    job = {
        "model": model_id(model),
        "split": split,
        "images": image_ops.fingerprint(images),
        "num_images": min(max_images or images.num_images, images.num_images),
        "batch_size": batch_size,
        "precision": model.precision,
        "dequantization_draws": getattr(model.objective, "num_draws", None),
        "machines": machine.count,
    }
    if background is not None:
        job["background"] = model_id(background.model)
    return Shards(output_dir, "scores", machine.count, job, ("bits",))


def save_scores(parts: Iterable[tuple], machine: Machine, shards: Shards) -> None:
    """Writes the shard of this machine, if it is not there yet: bits/dim float64 [n],
    labels [n] where the images have any, and `background`, the bits/dim by a background
    model [n] where there is one. `parts`: tuples of these, read only if needed."""
    with shards.locked(machine.index):
        if machine.index not in shards.missing():
            return
        bits, labels, background = [np.zeros(0)], [], []
        for some, of_some, others in parts:
            bits.append(some)
            labels += [] if of_some is None else [of_some]
            background += [] if others is None else [others]
        arrays = {"labels": labels, "background": background}
        arrays = {name: np.concatenate(some) for name, some in arrays.items() if some}
        shards.write(machine.index, bits=np.concatenate(bits), **arrays)


def read_scores(shards: Shards) -> Iterator[tuple]:
    """bits/dim [n], labels [n] or None, and bits/dim by the background model [n] or
    None, of each machine that had a batch, in the images' order."""
    for number in range(shards.count):
        arrays = shards.read(number)
        if len(arrays["bits"]):
            yield arrays["bits"], arrays.get("labels"), arrays.get("background")
