"""Files of scores: CSV and JSON that stand under their name when they are whole."""

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator
from typing import TextIO

COLUMNS = ("image", "label", "bits_per_dim")


def refuse_unwritable(flag: str, path: str) -> None:
    """Raises OSError where no file can be written to `path`, or beside it first."""
    folder = os.path.dirname(os.path.realpath(path))
    files = [file for file in (path, new_name(path)) if os.path.lexists(file)]
    is_file = bool(os.path.basename(path)) and os.path.isdir(folder)
    if (
        not is_file
        or not all(map(os.path.isfile, files))
        or not all(os.access(there, os.W_OK) for there in (folder, *files))
    ):
        raise OSError(
            f"--{flag}={path}: cannot be written; give a file in a folder that exists."
        )


def new_name(path: str) -> str:
    """Where a file stands until it is whole; of a link, beside what it links to."""
    return os.path.realpath(path) + ".new"


@contextlib.contextmanager
def open_new(path: str) -> Iterator[TextIO]:
    """A file to write that takes the place of `path` at the end; after an error what
    was written stays in `path`.new."""
    # Names of files are bytes: those that are no UTF-8 come through as they are.
    with open(
        new_name(path), "w", encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(new_name(path), os.path.realpath(path))


@contextlib.contextmanager
def open_csv(path: str) -> Iterator:
    """A function that writes (name, label or None, bits/dim) for each of a batch."""
    with open_new(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)

        def write(rows: Iterable[tuple[str, int | None, float]]) -> None:
            writer.writerows(rows)
            file.flush()

        yield write


def write_json(path: str, scores: dict) -> None:
    with open_new(path) as file:
        json.dump(scores, file)
