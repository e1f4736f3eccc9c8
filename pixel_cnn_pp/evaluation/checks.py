"""Checks of what evaluate.py and sample.py are asked for: files, images, models."""

import glob
import itertools
import os
import shutil
import zipfile
from collections.abc import Sequence

from pixel_cnn_pp import files, prng
from pixel_cnn_pp.images import ImageSet
from pixel_cnn_pp.memory import GIB
from pixel_cnn_pp.model import PixelCNNPP

# How files of scores begin, by flag.
STARTS = {
    "output_json": rb'^\{"(num_images|bits_per_dim)": ',
    "scores_csv": rb"^image,label,bits_per_dim",
}


def written_names(path: str) -> set[str]:
    """The file that is written for `path` and its name until it is whole."""
    return {os.path.realpath(path), files.new_name(path)}


def check_outputs(
    named: dict[str, str | None], output_dir: str | None, pictures: Sequence[str]
) -> None:
    """Raises ValueError or OSError where files cannot be written, or are one.

    `named`: paths by their flags; `pictures`: names of PNG and NPZ in output_dir.
    """
    outputs = []  # (flag with its value, path)
    for flag, path in named.items():
        if path is not None:
            files.check_file_writable(flag, path)
            value = f"--{flag}={path}"
            files.check_holds(value, path, STARTS[flag], "scores")
            outputs.append((value, path))
    if pictures:
        files.check_folder_writable("output_dir", output_dir)
        value = f"--output_dir={output_dir}"
        outputs.append((value, output_dir))
        for name in pictures:
            picture = os.path.join(output_dir, name)
            for path in (f"{picture}.png", f"{picture}.npz"):
                check_replaceable(value, path)
                outputs.append((value, path))
            check_not_foreign(value, picture)
    for (first, path), (second, other) in itertools.combinations(outputs, 2):
        if written_names(path) & written_names(other):
            raise ValueError(
                f"{second}: collides with {first} (a file ends in .new until it is "
                "whole); give another file."
            )


def check_replaceable(value: str, path: str) -> None:
    """Raises ValueError where what stands at `path` or its .new is not a file."""
    for name in written_names(path):
        if os.path.lexists(name) and not os.path.isfile(name):
            raise ValueError(f"{value}: {name} is not a file; give another folder.")


def check_not_foreign(value: str, path: str) -> None:
    """Raises ValueError where path.png or path.npz looks like a file of another
    program: an NPZ without num_levels, or a PNG without such an NPZ beside it."""
    png, npz = path + ".png", path + ".npz"
    if os.path.isfile(npz):
        wrong = npz if "num_levels.npy" not in _members(npz) else None
    else:
        shards = glob.glob(glob.escape(path) + "-*.npz")
        wrong = png if os.path.isfile(png) and not shards else None
    if wrong is not None:
        raise ValueError(
            f"{value}: {wrong} is there, and looks like a file of another program; "
            "give another folder, or remove the file."
        )


def _members(npz: str) -> list[str]:
    try:
        with zipfile.ZipFile(npz) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []


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


def check_images(model: PixelCNNPP, images: ImageSet) -> None:
    """Raises ValueError where images or labels are not such as the model takes."""
    if images.image_shape != model.image_shape:
        raise ValueError(
            f"images {images.image_shape}: this model takes {model.image_shape}; give "
            "the images it was trained on, or ones of that size."
        )
    if model.num_labels is not None and images.num_labels > model.num_labels:
        raise ValueError(
            f"images with {images.num_labels} labels: this model has "
            f"{model.num_labels}; give the images it was trained on, or ones with its "
            "labels."
        )


def check_likelihood(model: PixelCNNPP, dequantization_draws: int | None) -> None:
    """Raises ValueError where the model has no bits/dim, or exact ones with draws."""
    if model.energy_distance:
        raise ValueError(
            "energy_distance=True: such a model samples images but has no likelihood, "
            "so it has no bits/dim; give --num_samples to sample."
        )
    if dequantization_draws is not None and model.is_exact:
        raise ValueError(
            f"--dequantization_draws={dequantization_draws}: the scores of this model "
            "are exact; remove the flag."
        )
