"""Tasks: what is asked of a trained model, checked first and then done."""

import contextlib
import dataclasses
import itertools
import math
import os

from pixel_cnn_pp import files, score_files
from pixel_cnn_pp.evaluation import evaluator, heatmap, refusals
from pixel_cnn_pp.evaluation import samples as drawing
from pixel_cnn_pp.likelihood import ContinuousMixLogistic
from pixel_cnn_pp.model import PixelCNNPP
from pixel_cnn_pp.progress import ProgressLine

FIRST_IMAGES = 8  # That are completed or mapped where max_images does not say.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tasks:
    """What is asked for; the names are those of the flags of evaluate.py."""

    split: str
    max_images: int | None
    batch_size: int
    output_json: str | None
    scores_csv: str | None
    dequantization_draws: int | None
    num_samples: int | None
    labels: list[str] | None
    complete_rows: int | None
    num_completions: int
    heatmap: bool
    heatmap_max: float | None
    output_dir: str | None
    scale: int
    temperature: float
    seed: int

    @property
    def completes(self) -> bool:
        return self.complete_rows is not None

    @property
    def scores(self) -> bool:
        files = self.output_json is not None or self.scores_csv is not None
        return files or not (self.num_samples or self.completes or self.heatmap)

    @property
    def needs_images(self) -> bool:
        return self.scores or self.completes or self.heatmap

    @property
    def label_rows(self) -> list[int] | None:
        """The labels asked for; None where they are left to the model."""
        if self.labels is None:
            return None
        try:
            return [int(label) for label in self.labels or [""]]
        except ValueError as error:
            raise ValueError(
                f"--labels={','.join(self.labels)}: must be whole numbers with commas "
                "between them, like 0,1,2."
            ) from error

    def refuse_unclear(self) -> None:
        """Raises ValueError or OSError for what is wrong with any model and images."""
        if self.num_samples or self.completes or self.heatmap:
            if not self.output_dir:
                raise ValueError("--output_dir: give the folder for what is drawn.")
            files.check_folder_writable("output_dir", self.output_dir)
        for flag in ("output_json", "scores_csv"):
            if getattr(self, flag) is not None:
                files.check_file_writable(flag, getattr(self, flag))
        if self.output_json is not None and self.scores_csv is not None:
            if os.path.realpath(self.output_json) == os.path.realpath(self.scores_csv):
                raise ValueError(
                    f"--scores_csv={self.scores_csv}: is --output_json too; give "
                    "another file."
                )
        if self.dequantization_draws and not (self.scores or self.heatmap):
            raise ValueError(
                f"--dequantization_draws={self.dequantization_draws}: nothing is "
                "scored; leave the flag out, or give --output_json."
            )
        if self.label_rows is not None and not self.num_samples:
            raise ValueError(
                f"--labels={','.join(self.labels)}: no samples are drawn; give "
                "--num_samples too."
            )
        if self.heatmap_max is not None:
            shown = f"--heatmap_max={self.heatmap_max}"
            if not self.heatmap:
                raise ValueError(f"{shown}: no maps are drawn; give --heatmap too.")
            if not 0 < self.heatmap_max < math.inf:
                raise ValueError(f"{shown}: must be above 0 bits per pixel and finite.")

    def refuse_unfit(self, model: PixelCNNPP, images) -> None:
        """Raises ValueError for what is wrong with this model or these images."""
        if images is not None:
            refusals.refuse_unfit(model, images)
        if self.scores or self.heatmap:
            refusals.refuse_without_likelihood(model)
            refusals.refuse_draws_of_exact(model, self.dequantization_draws)
        if self.num_samples or self.completes:
            refusals.refuse_settings(model, self.temperature, self.seed)
        if self.num_samples:
            if self.label_rows is not None:
                refusals.refuse_labels(model, self.label_rows, self.num_samples)
            shown = min(self.num_samples, drawing.SHOWN)
            refusals.refuse_large_png(model, shown, self.scale)
        n = self.max_images or FIRST_IMAGES
        if images is not None:
            n = min(n, images.num_images)
        if self.completes:
            refusals.refuse_rows(model, self.complete_rows)
            columns = 2 + self.num_completions
            refusals.refuse_large_png(model, n * columns, self.scale)
        if self.heatmap:
            refusals.refuse_large_png(model, n * 2, self.scale)

    def run(self, model: PixelCNNPP, images) -> None:
        """Does all that is asked for and prints a line for each."""
        if isinstance(model.objective, ContinuousMixLogistic):
            draws = self.dequantization_draws or model.objective.num_draws
            model.set_dequantization_draws(draws)
        if self.num_samples:
            self._draw_samples(model)
        if self.completes:
            self._draw_completions(model, images)
        if self.heatmap:
            self._draw_heatmaps(model, images)
        if self.scores:
            self._score(model, images)

    def _settings(self, line: ProgressLine) -> dict:
        return {
            "seed": (self.seed, 0),
            "temperature": self.temperature,
            "scale": self.scale,
            "progress": lambda done, n: line.show(f"drawn {done}/{n}"),
        }

    def _draw_samples(self, model: PixelCNNPP) -> None:
        path = os.path.join(self.output_dir, "samples")
        rows = self.label_rows
        if rows is None and model.num_labels is not None:
            rows = list(range(model.num_labels))
        line = ProgressLine()
        drawing.draw_samples(
            model, self.num_samples, path, rows=rows, **self._settings(line)
        )
        line.keep(f"{self.num_samples} samples: {path}.png, {path}.npz")

    def _draw_completions(self, model: PixelCNNPP, images) -> None:
        path = os.path.join(self.output_dir, "completions")
        line = ProgressLine()
        n = drawing.draw_completions(
            model,
            images,
            self.max_images or FIRST_IMAGES,
            self.complete_rows,
            self.num_completions,
            path,
            **self._settings(line),
        )
        line.keep(f"{n} completed images: {path}.png, {path}.npz")

    def _draw_heatmaps(self, model: PixelCNNPP, images) -> None:
        path = os.path.join(self.output_dir, "heatmaps")
        n, low, high = heatmap.draw_heatmaps(
            model,
            images,
            self.max_images or FIRST_IMAGES,
            path,
            self.batch_size,
            self.heatmap_max,
            self.scale,
        )
        note = self._bound_note(model)
        print(
            f"{n} heat maps, colours from {low:g} to {high:g} bits per pixel{note}: "
            f"{path}.png, {path}.npz"
        )

    def _score(self, model: PixelCNNPP, images) -> None:
        total, count, kept = 0.0, 0, []
        names = images.names()
        with contextlib.ExitStack() as stack:
            write = None
            if self.scores_csv is not None:
                write = stack.enter_context(score_files.open_csv(self.scores_csv))
            for bits, labels in evaluator.score(
                model, images, self.batch_size, self.max_images
            ):
                total, count = total + float(bits.sum()), count + len(bits)
                if write is not None:
                    called = itertools.islice(names, len(bits))
                    shown = [""] * len(bits) if labels is None else labels.tolist()
                    write(zip(called, shown, bits.tolist(), strict=True))
                if self.output_json is not None:
                    kept += bits.tolist()
        note = f"{count} images{self._bound_note(model)}"
        print(f"{self.split} bits_per_dim = {total / count:.4f} ({note})")
        if self.output_json is not None:
            scores = {
                "bits_per_dim": total / count,
                "num_images": count,
                "bits_per_dim_per_image": kept,
            }
            score_files.write_json(self.output_json, scores)

    @staticmethod
    def _bound_note(model: PixelCNNPP) -> str:
        if not isinstance(model.objective, ContinuousMixLogistic):
            return ""
        draws = model.objective.num_draws
        return f"; estimate of an upper bound, mean of {draws} dequantizations"
