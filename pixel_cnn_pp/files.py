"""Files: one way to write them whole, and checks before the work begins."""

import contextlib
import os
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def open_atomic(path: str | os.PathLike, mode: str = "w", **options) -> Iterator[IO]:
    """A new file that takes the place of `path` when the block ends.

    Until then, and after an error, it is `path`.new and `path` is what it was. A link
    stays: the file that it leads to is replaced. Options are those of `open`.
    """
    new = new_name(path)
    with open(new, mode, **options) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, os.path.realpath(path))


def new_name(path: str | os.PathLike) -> str:
    """Where a file is until it is whole."""
    return os.path.realpath(path) + ".new"


def check_folder_writable(flag: str, folder: str) -> None:
    """Raises ValueError if a folder cannot be made or written to."""
    existing = os.path.abspath(folder)
    while not os.path.lexists(existing):  # The folders below it will be made.
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(
            f"--{flag}={folder}: {existing} is no folder that can be written to; give "
            f"another --{flag}."
        )


def check_file_writable(flag: str, path: str) -> None:
    """Raises OSError if `path` and the file beside it cannot be written."""
    folder = os.path.dirname(os.path.realpath(path))
    files = [file for file in (path, new_name(path)) if os.path.lexists(file)]
    is_file = bool(os.path.basename(path)) and os.path.isdir(folder)
    if (
        not is_file
        or not all(map(os.path.isfile, files))
        or not all(os.access(one, os.W_OK) for one in (folder, *files))
    ):
        raise OSError(
            f"--{flag}={path}: cannot be written; give a file in a folder that exists."
        )
