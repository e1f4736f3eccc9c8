"""Tasks: what evaluate.py and sample.py are asked for, checked first, then done."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from pixel_cnn_pp import cluster, memory
from pixel_cnn_pp.checks import check_matplotlib
from pixel_cnn_pp.evaluation import checks, evaluator, heatmap, ratio, samples, scores
from pixel_cnn_pp.evaluation.devices import ONE_MACHINE, Machine
from pixel_cnn_pp.evaluation.mask import read_mask
from pixel_cnn_pp.evaluation.ratio import Background
from pixel_cnn_pp.evaluation.shards import Shards, model_id
from pixel_cnn_pp.images import (
    ImageSet,
    check_png_size,
    fingerprint,
    first_rows,
    scale_to_see,
)
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
    background_dir: str | None = None
    num_samples: int | None = None
    shard_images: int = 1024
    labels: list[str] | None = None
    complete_rows: int | None = None
    inpaint_mask: str | None = None
    num_completions: int = 4
    heatmap: bool = False
    heatmap_max: float | None = None
    output_dir: str | None = None
    worker_timeout: int = 3600
    scale: int | None = None
    temperature: float = 1.0
    seed: Sequence[str] = ("0",)

    @property
    def completes(self) -> bool:
        return self.complete_rows is not None or self.inpaint_mask is not None

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
    def shards_samples(self) -> bool:
        """Whether the samples are in several files."""
        return self.num_samples is not None and self.num_samples > self.shard_images

    @property
    def scores_images(self) -> bool:
        writes_scores = self.output_json is not None or self.scores_csv is not None
        return writes_scores or not self.pictures

    @property
    def computes_bits(self) -> bool:
        return self.scores_images or self.heatmap

    @property
    def needs_images(self) -> bool:
        return self.computes_bits or self.completes

    def check_flags(self) -> None:
        """Raises ValueError or OSError for what is wrong with any model and images."""
        if self.pictures and not self.output_dir:
            raise ValueError(
                "--output_dir: give the folder for the PNG and NPZ files, for example "
                "--output_dir=pictures."
            )
        if self.scores_images and not self.output_dir and cluster.position()[1] > 1:
            raise ValueError(
                "TF_CONFIG: the scores of several machines come together in files; "
                "give --output_dir, a folder that all of them share."
            )
        named = {"output_json": self.output_json, "scores_csv": self.scores_csv}
        checks.check_outputs(named, self.output_dir, self.pictures)
        if self.complete_rows is not None and self.inpaint_mask is not None:
            raise ValueError(
                f"--complete_rows={self.complete_rows} --inpaint_mask="
                f"{self.inpaint_mask}: both say which pixels are kept; give one of the "
                "two."
            )
        if self.heatmap:
            check_matplotlib("--heatmap: ")
        if self.heatmap_max is not None and not 0 < self.heatmap_max < math.inf:
            raise ValueError(
                f"--heatmap_max={self.heatmap_max}: must be above 0 bits per pixel and "
                "finite."
            )

    def check_model(
        self,
        model: PixelCNNPP,
        images: ImageSet | None,
        background: Background | None = None,
    ) -> None:
        """Raises ValueError for what is wrong with these models or images."""
        if images is not None:
            checks.check_images(model, images)
        if self.computes_bits:
            checks.check_likelihood(model, self.dequantization_draws)
            n = min(self.batch_size, self.max_images or math.inf, images.num_images)
            memory.check_batch("batch_size", n, model.config)
            if background is not None:
                ratio.check_background(self.background_dir, model, background.model)
                checks.check_images(*background)
                memory.check_batch("batch_size", n, background.model.config)
        if self.num_samples or self.completes:
            model.check_temperature(self.temperature)
            samples.parse_seed(self.seed)
        if self.num_samples:
            if self.shards_samples:
                size, flag = self.shard_images, "shard_images"
            else:
                size, flag = self.num_samples, "num_samples"
            image_bytes = memory.image_bytes(model.config)
            memory.check_samples(size, image_bytes, flag=flag)
            checks.check_room(self.output_dir, self.num_samples, image_bytes)
            labels = samples.parse_labels(self.labels, model)
            if self.labels is not None and len(labels) > self.num_samples:
                raise ValueError(
                    f"--labels={','.join(self.labels)}: --num_samples="
                    f"{self.num_samples} is fewer than the {len(labels)} labels; give "
                    f"--num_samples={len(labels)} or more."
                )
            n = min(self.num_samples, samples.MAX_GRID_IMAGES)
            check_png_size(model.image_shape, n, self._scale(model))
        if self.completes:
            self._kept_pixels(model)
            n = self._num_pictured(images)
            n *= samples.EXTRA_CELLS + self.num_completions
            check_png_size(model.image_shape, n, self._scale(model))
        if self.heatmap:
            n = self._num_pictured(images) * 2  # Each beside its heat map.
            check_png_size(model.image_shape, n, self._scale(model))

    def run(
        self,
        model: PixelCNNPP,
        images: ImageSet | None,
        machine: Machine = ONE_MACHINE,
        background: Background | None = None,
    ) -> None:
        """Does everything that is asked for and prints a line for each.

        All devices and machines score and sample, the latter in shards; the first alone
        completes images and makes heat maps.
        """
        if self.shards_samples:
            self._sample_shards(model, machine)
        elif self.num_samples and machine.is_chief:
            self._sample(model)
        if self.completes and machine.is_chief:
            self._complete(model, images)
        if self.heatmap and machine.is_chief:
            self._map_bits(model, images, background)
        if self.scores_images:
            self._score(model, images, machine, background)
        if not (machine.is_chief or self.shards_samples or self.scores_images):
            print("nothing to do here: the first machine of TF_CONFIG does it alone")

    def _scale(self, model: PixelCNNPP) -> int:
        return self.scale or scale_to_see(model.image_shape)

    def _kept_pixels(self, model: PixelCNNPP) -> np.ndarray:
        """True where a pixel of the images is kept in completions, bool [H, W].

        Raises ValueError or OSError where the flag for it does not fit the images.
        """
        height, width, _ = model.image_shape
        if self.inpaint_mask is not None:
            return read_mask(self.inpaint_mask, (height, width))
        if self.complete_rows >= height:
            raise ValueError(
                f"--complete_rows={self.complete_rows}: the images have {height} "
                f"rows, of which at least one must be sampled; give fewer."
            )
        return first_rows(self.complete_rows, model.image_shape)

    def _num_pictured(self, images: ImageSet) -> int:
        """The number of images that are completed or mapped."""
        return min(self.max_images or FIRST_IMAGES, images.num_images)

    def _path(self, name: str) -> str:
        """The path of a picture without .png and .npz."""
        return os.path.join(self.output_dir, name)

    @contextlib.contextmanager
    def _sampling(self, model: PixelCNNPP) -> Iterator[samples.SampleSettings]:
        """How to sample, with a progress bar where stderr is a terminal."""
        with tqdm(desc="sampling", unit=" images", disable=None, leave=False) as bar:

            def show(done: int, n: int) -> None:
                bar.total = n
                bar.update(done - bar.n)

            seed, scale = samples.parse_seed(self.seed), self._scale(model)
            yield samples.SampleSettings(seed, self.temperature, show, scale)

    def _sample(self, model: PixelCNNPP) -> None:
        labels = samples.parse_labels(self.labels, model)
        path = self._path("samples")
        with self._sampling(model) as settings:
            samples.save_samples(model, self.num_samples, path, settings, labels)
        self._print_samples(model, labels, f"{path}.npz")

    def _print_samples(self, model: PixelCNNPP, labels, npz: str) -> None:
        rows = ""
        if labels is not None:
            in_grid = labels[: min(self.num_samples, samples.MAX_GRID_IMAGES)]
            texts = [samples.label_text(label, model.class_names) for label in in_grid]
            rows = f", rows of labels {', '.join(texts)}"
        path = self._path("samples")
        print(f"{self.num_samples} samples{rows}: {path}.png, {npz}")

    def _sample_shards(self, model: PixelCNNPP, machine: Machine) -> None:
        labels = samples.parse_labels(self.labels, model)
        settings = {  # Files made with other values are rejected.
            "model": model_id(model),
            "num_samples": self.num_samples,
            "shard_images": self.shard_images,
            "seed": samples.parse_seed(self.seed),
            "temperature": self.temperature,
            "labels": labels,
        }
        count = -(-self.num_samples // self.shard_images)
        shards = Shards(self.output_dir, "samples", count, settings, ("images",))
        with self._sampling(model) as sampling:
            ours = samples.sample_shards(model, shards, sampling, machine)
        if not machine.is_chief:
            print(f"{ours} of {count} files of samples: {self.output_dir}")
            return
        shards.wait(self.worker_timeout)
        samples.save_grid(model, shards, self._path("samples"), self._scale(model))
        npz = f"{shards.path(0)} to {shards.path(count - 1)}"
        self._print_samples(model, labels, npz)

    def _complete(self, model: PixelCNNPP, images: ImageSet) -> None:
        path = self._path("completions")
        with self._sampling(model) as settings:
            n, keep = self._num_pictured(images), self._kept_pixels(model)
            n = samples.save_completions(
                model, images, n, keep, self.num_completions, path, settings
            )
        print(f"{n} completed images: {path}.png, {path}.npz")

    def _map_bits(
        self, model: PixelCNNPP, images: ImageSet, background: Background | None
    ) -> None:
        path, scale = self._path("heatmaps"), self._scale(model)
        settings = heatmap.HeatmapSettings(self.batch_size, self.heatmap_max, scale)
        n, low, high = heatmap.save_heatmaps(
            model, images, self._num_pictured(images), path, settings, background
        )
        note = evaluator.bound_note(model)
        if background is not None:
            note = f", less the background model's{note}"
        print(
            f"{n} heat maps, colours from {low:.3g} to {high:.3g} bits per pixel"
            f"{note}: {path}.png, {path}.npz"
        )

    def _score(
        self,
        model: PixelCNNPP,
        images: ImageSet,
        machine: Machine,
        background: Background | None,
    ) -> None:
        parts = ratio.score_with_background(
            model, images, background, self.batch_size, self.max_images, machine
        )
        if machine.count == 1:
            self._write_scores(model, images, parts, background)
            return
        n = images.num_images
        settings = {  # Files made with other values are rejected.
            "model": model_id(model),
            "split": self.split,
            "images": fingerprint(images),
            "num_images": min(self.max_images or n, n),
            "batch_size": self.batch_size,
            "precision": model.precision,
            "dequantization_draws": model.dequantization_draws,
            "machines": machine.count,
        }
        if background is not None:
            settings["background"] = model_id(background.model)
        shards = Shards(self.output_dir, "scores", machine.count, settings, ("bits",))
        scores.write_shard(parts, machine, shards)
        if not machine.is_chief:
            print(f"scores of this machine: {shards.path(machine.index)}")
            return
        shards.wait(self.worker_timeout)
        self._write_scores(model, images, scores.read_shards(shards), background)
        shards.remove()

    def _write_scores(
        self,
        model: PixelCNNPP,
        images: ImageSet,
        parts: Iterable[dict[str, np.ndarray]],
        background: Background | None,
    ) -> None:
        """Writes and prints the scores. `parts`: those of consecutive images."""
        names = scores.SCORES if background is None else scores.RATIO_SCORES
        paths = self.scores_csv, self.output_json
        columns = scores.write_scores(
            parts, images.names(), model.image_shape, names, *paths
        )
        means = {name: float(np.mean(values)) for name, values in columns.items()}
        note = f"{len(columns['bits_per_dim'])} images{evaluator.bound_note(model)}"
        print(f"{self.split} bits_per_dim = {means['bits_per_dim']:.4f} ({note})")
        if background is not None:
            print(
                f"{self.split} log_likelihood_ratio = "
                f"{means['log_likelihood_ratio']:.2f} nats (background bits_per_dim = "
                f"{means['background_bits_per_dim']:.4f})"
            )
