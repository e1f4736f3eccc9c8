"""Tasks: what evaluate.py and sample.py are asked for, checked first, then done."""

import contextlib
import dataclasses
import importlib.util
import itertools
import json
import math
import os
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from pixel_cnn_pp import files, memory
from pixel_cnn_pp.evaluation import evaluator, heatmap, samples
from pixel_cnn_pp.images import ImageSet, check_png_size, scale_to_see
from pixel_cnn_pp.likelihood import ContinuousMixLogistic
from pixel_cnn_pp.model import PixelCNNPP

FIRST_IMAGES = 8  # Completed or mapped where --max_images is not given.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tasks:
    """What is asked for; the fields are named like the flags of evaluate.py, and of
    sample.py. Without a `scale` each image is large enough to be seen."""

    split: str = "test"
    max_images: int | None = None
    batch_size: int = 64
    output_json: str | None = None
    scores_csv: str | None = None
    dequantization_draws: int | None = None
    num_samples: int | None = None
    labels: list[str] | None = None
    complete_rows: int | None = None
    num_completions: int = 4
    heatmap: bool = False
    heatmap_max: float | None = None
    output_dir: str | None = None
    scale: int | None = None
    temperature: float = 1.0
    seed: Sequence[str] = ("0",)

    @property
    def completes(self) -> bool:
        return self.complete_rows is not None

    @property
    def pictures(self) -> list[str]:
        """Names of the files in --output_dir, each a PNG and an NPZ."""
        asked = {
            "samples": self.num_samples,
            "completions": self.completes,
            "heatmaps": self.heatmap,
        }
        return [name for name, is_asked in asked.items() if is_asked]

    @property
    def scores(self) -> bool:
        writes_scores = self.output_json is not None or self.scores_csv is not None
        return writes_scores or not self.pictures

    @property
    def needs_images(self) -> bool:
        return self.scores or self.completes or self.heatmap

    def check_flags(self) -> None:
        """Raises ValueError or OSError for what is wrong with any model and images."""
        if self.pictures and not self.output_dir:
            raise ValueError(
                "--output_dir: give the folder for the PNG and NPZ files, for example "
                "--output_dir=pictures."
            )
        self._check_outputs()
        if self.dequantization_draws and not (self.scores or self.heatmap):
            raise ValueError(
                f"--dequantization_draws={self.dequantization_draws}: nothing is "
                "scored; remove the flag, or give --output_json."
            )
        if self.labels is not None and not self.num_samples:
            raise ValueError(
                f"--labels={','.join(self.labels)}: nothing is sampled; give "
                "--num_samples too."
            )
        if self.heatmap and importlib.util.find_spec("matplotlib") is None:
            raise ValueError(
                "--heatmap: matplotlib is not installed; pip install -e '.[plots]'."
            )
        if self.heatmap_max is not None:
            value = f"--heatmap_max={self.heatmap_max}"
            if not self.heatmap:
                raise ValueError(f"{value}: there is no heat map; give --heatmap too.")
            if not 0 < self.heatmap_max < math.inf:
                raise ValueError(f"{value}: must be above 0 bits per pixel and finite.")

    def check_model(self, model: PixelCNNPP, images: ImageSet | None) -> None:
        """Raises ValueError for what is wrong with this model or these images."""
        if images is not None:
            check_images(model, images)
        if self.scores or self.heatmap:
            check_likelihood(model, self.dequantization_draws)
            most = self.max_images or images.num_images
            n = min(self.batch_size, most, images.num_images)
            memory.check_batch("batch_size", n, model.config)
        if self.num_samples or self.completes:
            model.check_temperature(self.temperature)
            samples.parse_seed(self.seed)
        if self.num_samples:
            memory.check_samples(self.num_samples, model.image_shape)
            labels = self._parse_labels(model)
            if labels is not None:
                check_labels(model, labels, self.num_samples)
            shown = min(self.num_samples, samples.MAX_GRID_IMAGES)
            check_png_size(model.image_shape, shown, self._scale(model))
        if self.completes:
            height = model.image_shape[0]
            if self.complete_rows >= height:
                raise ValueError(
                    f"--complete_rows={self.complete_rows}: the images have {height} "
                    f"rows, of which at least one must be sampled; give fewer."
                )
            n = self._num_shown(images) * (2 + self.num_completions)
            check_png_size(model.image_shape, n, self._scale(model))
        if self.heatmap:
            n = self._num_shown(images) * 2
            check_png_size(model.image_shape, n, self._scale(model))

    def run(self, model: PixelCNNPP, images: ImageSet | None) -> None:
        """Does everything that is asked for and prints a line for each."""
        if self.dequantization_draws:
            model.set_dequantization_draws(self.dequantization_draws)
        if self.num_samples:
            self._sample(model)
        if self.completes:
            self._complete(model, images)
        if self.heatmap:
            self._map_bits(model, images)
        if self.scores:
            self._score(model, images)

    def _parse_labels(self, model: PixelCNNPP) -> list[int] | None:
        """The labels that are named by the model's class names, or by numbers."""
        if self.labels is None:
            return None
        if model.num_labels is None:
            raise ValueError(
                f"--labels={','.join(self.labels)}: this model has no labels; remove "
                "the flag."
            )
        names = model.class_names or ()
        # Class names are in this form, and a shell may give another.
        labels = [unicodedata.normalize("NFC", label) for label in self.labels or [""]]
        try:
            return [
                names.index(label) if label in names else int(label) for label in labels
            ]
        except ValueError as error:
            raise ValueError(
                f"--labels={','.join(self.labels)}: must be class names or numbers "
                "with commas between them, for example 0,1,2"
                + (f"; the classes are {', '.join(names)}." if names else ".")
            ) from error

    def _scale(self, model: PixelCNNPP) -> int:
        return self.scale or scale_to_see(model.image_shape)

    def _num_shown(self, images: ImageSet) -> int:
        """The number of images that are completed or mapped."""
        return min(self.max_images or FIRST_IMAGES, images.num_images)

    def _path(self, name: str) -> str:
        """The path of a picture without .png and .npz."""
        return os.path.join(self.output_dir, name)

    def _check_outputs(self) -> None:
        outputs = []  # (flag with its value, path)
        for flag in ("output_json", "scores_csv"):
            path = getattr(self, flag)
            if path is not None:
                files.check_file_writable(flag, path)
                outputs.append((f"--{flag}={path}", path))
        if self.pictures:
            files.check_folder_writable("output_dir", self.output_dir)
            value = f"--output_dir={self.output_dir}"
            outputs.append((value, self.output_dir))
            for name in self.pictures:
                for path in (f"{self._path(name)}.png", f"{self._path(name)}.npz"):
                    check_replaceable(value, path)
                    outputs.append((value, path))
        for (first, path), (second, other) in itertools.combinations(outputs, 2):
            if written_names(path) & written_names(other):
                raise ValueError(
                    f"{second}: collides with {first} (a file ends in .new until it is "
                    "whole); give another file."
                )

    @contextlib.contextmanager
    def _settings(self, model: PixelCNNPP) -> Iterator[samples.SampleSettings]:
        """How to sample, with a progress bar where stderr is a terminal."""
        with tqdm(desc="sampling", unit=" images", disable=None, leave=False) as bar:

            def show(done: int, n: int) -> None:
                bar.total = n
                bar.update(done - bar.n)

            seed, scale = samples.parse_seed(self.seed), self._scale(model)
            yield samples.SampleSettings(seed, self.temperature, show, scale)

    def _sample(self, model: PixelCNNPP) -> None:
        labels = self._parse_labels(model)
        if labels is None and model.num_labels is not None:
            labels = list(range(model.num_labels))
        path = self._path("samples")
        with self._settings(model) as settings:
            samples.save_samples(model, self.num_samples, path, settings, labels)
        rows = ""
        if labels is not None:
            in_grid = labels[: min(self.num_samples, samples.MAX_GRID_IMAGES)]
            shown = [label_text(label, model.class_names) for label in in_grid]
            rows = f", rows of labels {', '.join(shown)}"
        print(f"{self.num_samples} samples{rows}: {path}.png, {path}.npz")

    def _complete(self, model: PixelCNNPP, images: ImageSet) -> None:
        path = self._path("completions")
        with self._settings(model) as settings:
            n = samples.save_completions(
                model,
                images,
                self._num_shown(images),
                self.complete_rows,
                self.num_completions,
                path,
                settings,
            )
        print(f"{n} completed images: {path}.png, {path}.npz")

    def _map_bits(self, model: PixelCNNPP, images: ImageSet) -> None:
        path = self._path("heatmaps")
        n, low, high = heatmap.save_heatmaps(
            model,
            images,
            self._num_shown(images),
            path,
            self.batch_size,
            self.heatmap_max,
            self._scale(model),
        )
        print(
            f"{n} heat maps, colours from {low:.3g} to {high:.3g} bits per pixel"
            f"{bound_note(model)}: {path}.png, {path}.npz"
        )

    def _score(self, model: PixelCNNPP, images: ImageSet) -> None:
        names, scores = images.names(), []
        with contextlib.ExitStack() as stack:
            write_rows = None
            if self.scores_csv is not None:
                write_rows = stack.enter_context(evaluator.open_csv(self.scores_csv))
            for bits, labels in evaluator.score(
                model, images, self.batch_size, self.max_images
            ):
                scores += bits.tolist()
                if write_rows is not None:
                    write_rows(itertools.islice(names, len(bits)), labels, bits)
        mean = float(np.mean(scores))
        note = f"{len(scores)} images{bound_note(model)}"
        print(f"{self.split} bits_per_dim = {mean:.4f} ({note})")
        if self.output_json is not None:
            content = {
                "bits_per_dim": mean,
                "num_images": len(scores),
                "bits_per_dim_per_image": scores,
            }
            with files.open_atomic(self.output_json) as file:
                json.dump(content, file)


def label_text(label: int, class_names: tuple[str, ...] | None) -> str:
    """'3' or, where it has another name, '3 (cat)'."""
    if class_names is None or class_names[label] == str(label):
        return str(label)
    return f"{label} ({class_names[label]})"


def bound_note(model: PixelCNNPP) -> str:
    """What to print of scores that are not exact."""
    if not isinstance(model.objective, ContinuousMixLogistic):
        return ""
    draws = model.objective.num_draws
    return f"; estimate of an upper bound, mean of {draws} dequantizations"


def written_names(path: str) -> set[str]:
    """The file that is written for `path` and its name until it is whole."""
    return {os.path.realpath(path), files.new_name(path)}


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
    is_exact = not isinstance(model.objective, ContinuousMixLogistic)
    if dequantization_draws is not None and is_exact:
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
