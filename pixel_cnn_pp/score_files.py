"""Files of scores: CSV and JSON that stand under their name when they are whole."""

import contextlib
import csv
import json
from collections.abc import Iterable, Iterator

from pixel_cnn_pp.files import open_atomic

# File names are bytes: those that are not UTF-8 are written as they are.
TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
COLUMNS = ("image", "label", "bits_per_dim")


@contextlib.contextmanager
def open_csv(path: str) -> Iterator:
    """A function that writes (name, label or None, bits/dim) for each of a batch."""
    with open_atomic(
        path, encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)

        def write(rows: Iterable[tuple[str, int | None, float]]) -> None:
            writer.writerows(rows)
            file.flush()

        yield write


def write_json(path: str, scores: dict) -> None:
    with open_atomic(
        path, encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        json.dump(scores, file)
