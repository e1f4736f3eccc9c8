"""Checks of what evaluate.py and sample.py are asked for: files, images, labels."""

import glob
import itertools
import os
import zipfile
from collections.abc import Sequence

from pixel_cnn_pp import files
from pixel_cnn_pp.images import ImageSet
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
        for name, kind in itertools.product(pictures, (".png", ".npz")):
            path = os.path.join(output_dir, name + kind)
            check_replaceable(value, path)
            outputs.append((value, path))
        for name in pictures:
            check_not_foreign(value, os.path.join(output_dir, name))
    for (first, path), (second, other) in itertools.combinations(outputs, 2):
        if written_names(path) & written_names(other):
            raise ValueError(
                f"{second}: collides with {first} (a file ends in .new until it is "
                "whole); give another file."
            )


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


def check_unused(name: str, value, default, needed: str) -> None:
    """Raises ValueError where a flag is given on which nothing depends."""
    given, default = (
        ",".join(v) if isinstance(v, (list, tuple)) else v for v in (value, default)
    )
    if given != default:
        raise ValueError(
            f"--{name}={given}: has no effect here; give --{needed} too, or remove the "
            "flag."
        )


def check_replaceable(value: str, path: str) -> None:
    """Raises ValueError where what stands at `path` or its .new is not a file."""
    for name in written_names(path):
        if os.path.lexists(name) and not os.path.isfile(name):
            raise ValueError(f"{value}: {name} is not a file; give another folder.")


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


def check_labels(model: PixelCNNPP, labels: Sequence[int], num_samples: int) -> None:
    """Raises ValueError where the model cannot sample each of these labels once."""
    value = f"--labels={','.join(map(str, labels))}"
    if not all(0 <= label < model.num_labels for label in labels):
        raise ValueError(
            f"{value}: this model has the labels 0 to {model.num_labels - 1}; give "
            "some of these."
        )
    if len(labels) > num_samples:
        raise ValueError(
            f"{value}: --num_samples={num_samples} is fewer than the {len(labels)} "
            f"labels; give --num_samples={len(labels)} or more."
        )
