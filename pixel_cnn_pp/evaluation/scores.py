"""Files of scores: a CSV with a row for each image, a JSON, and a shard a machine."""

import contextlib
import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from pixel_cnn_pp.evaluation.devices import Machine
from pixel_cnn_pp.evaluation.ratio import log_likelihood_ratio
from pixel_cnn_pp.evaluation.shards import Shards
from pixel_cnn_pp.files import open_atomic

SCORES = ("bits_per_dim",)
RATIO_SCORES = (*SCORES, "background_bits_per_dim", "log_likelihood_ratio")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@contextlib.contextmanager
def open_csv(path: str, columns: Sequence[str] = SCORES) -> Iterator[Callable]:
    """A function that writes the rows of a batch: names, labels or None, each column.

    Rows are in `path`.new until the block ends. A spreadsheet would run a name that
    begins like a formula, so such a name gets a single quote in front.
    """
    # File names are bytes: those that are not UTF-8 are written unchanged.
    text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with open_atomic(path, **text) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "label", *columns))

        def write_rows(
            names: Iterable[str], labels: np.ndarray | None, *scores: np.ndarray
        ) -> None:
            names = (f"'{n}" if n.startswith(FORMULA_STARTS) else n for n in names)
            labels = [""] * len(scores[0]) if labels is None else labels.tolist()
            columns = (column.tolist() for column in scores)
            writer.writerows(zip(names, labels, *columns, strict=True))
            file.flush()

        yield write_rows


def write_scores(
    parts: Iterable[dict[str, np.ndarray]],
    names: Iterator[str],
    image_shape: tuple[int, int, int],
    columns: Sequence[str],
    scores_csv: str | None,
    output_json: str | None,
) -> dict[str, list[float]]:
    """Writes and returns the scores of all images, by column.

    `parts`: those of `ratio.score_with_background`, with a background model where the
    columns are RATIO_SCORES.
    """
    scores = {column: [] for column in columns}
    with contextlib.ExitStack() as stack:
        write_rows = None
        if scores_csv is not None:
            write_rows = stack.enter_context(open_csv(scores_csv, columns))
        for part in parts:
            bits, background = part["bits"], part.get("background")
            part_scores = [bits]
            if background is not None:
                ratio = log_likelihood_ratio(bits, background, image_shape)
                part_scores += [background, ratio]
            for column, values in zip(columns, part_scores, strict=True):
                scores[column] += values.tolist()
            if write_rows is not None:
                part_names = itertools.islice(names, len(bits))
                write_rows(part_names, part.get("labels"), *part_scores)
    if output_json is not None:
        content = {"num_images": len(scores["bits_per_dim"])}
        for column, values in scores.items():
            content |= {column: float(np.mean(values)), f"{column}_per_image": values}
        with open_atomic(output_json) as file:
            json.dump(content, file)
    return scores


def write_shard(
    parts: Iterable[dict[str, np.ndarray]], machine: Machine, shards: Shards
) -> None:
    """Writes the shard of this machine, if it is not there yet: the arrays of all
    parts, which are computed only if needed."""
    with shards.locked(machine.index):
        if machine.index in shards.missing():
            parts = list(parts) or [{"bits": np.zeros(0)}]
            arrays = {
                name: np.concatenate([p[name] for p in parts]) for name in parts[0]
            }
            shards.write(machine.index, **arrays)


def read_shards(shards: Shards) -> Iterator[dict[str, np.ndarray]]:
    """A part of each machine that had a batch, in the images' order."""
    parts = map(shards.read, range(shards.count))
    return (part for part in parts if len(part["bits"]))
