"""Files: one way to write them whole, and checks before the work begins."""

import atexit
import contextlib
import fcntl
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def open_atomic(path: str | os.PathLike, mode: str = "w", **options) -> Iterator[IO]:
    """A new file that takes the place of `path` when the block ends.

    Until then, and after an error, it is `path`.new and `path` is what it was. A link
    stays: the file that it leads to is replaced. Options are those of `open`.
    """
    new = new_name(path)
    with _errors_that_name(new), open(new, mode, **options) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, os.path.realpath(path))


@contextlib.contextmanager
def _errors_that_name(path: str) -> Iterator[None]:
    """Adds the path to an OSError of a file that is open, such as of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def new_name(path: str | os.PathLike) -> str:
    """Where a file is until it is whole."""
    return os.path.realpath(path) + ".new"


def tensorflow_path(folder: str) -> str:
    """A path of the folder that TensorFlow does not take for a pattern.

    Of a folder with *, ?, [, ] or a backslash in its path, or a name that is not UTF-8,
    TensorFlow finds other files or none: such a folder gets a link.
    """
    folder = os.path.abspath(folder)
    is_plain = folder.isprintable() and not re.search(r"[*?\[\]\\]", folder)
    return folder if is_plain else _link_to(folder)


@functools.cache
def _link_to(folder: str) -> str:
    links = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, links)
    os.symlink(folder, os.path.join(links, "folder"))
    return os.path.join(links, "folder")


class Locked(OSError):
    """Another process writes to the folder."""


class FolderLock:
    """Keeps others from writing to a folder: within a `with` block, or from `acquire`
    to `release` or the end of the process.

    `flag` and `path` are what a user gave, for the error. Locks of other names keep
    each other from nothing.
    """

    def __init__(
        self,
        folder: str,
        flag: str = "save_dir",
        path: str | None = None,
        name: str = "lock",
    ):
        self.path = os.path.join(folder, name)
        self._flag, self._given = flag, path or folder
        self._file = None

    def acquire(self) -> None:
        """Raises Locked, with the number of the process that has the lock."""
        if self._file is not None:
            return
        file = open(self.path, "a+", errors="replace")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            pid = file.read().strip()
            file.close()
            raise Locked(
                f"--{self._flag}={self._given}: process {pid} writes to it; wait until "
                f"it ends, or give another --{self._flag}."
            ) from error
        file.seek(0)
        if not re.fullmatch(r"\d*", file.read(20)):
            file.close()
            raise OSError(
                f"--{self._flag}={self._given}: {self.path} is there and no lock of "
                f"this program; give another --{self._flag}."
            )
        with _errors_that_name(self.path):
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        self.release()


def is_address(path: str) -> bool:
    """Whether a path is one of another machine, such as gs://bucket/run."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def check_holds(value: str, path: str, mark: bytes, kind: str) -> None:
    """Raises ValueError where a file at `path` is not of that kind: the pattern `mark`
    is not at its start or end. So files of other programs are not overwritten.

    `value`: the flag and what was given, for the error.
    """
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if not size:
        return
    with open(path, "rb") as file:
        ends = file.read(8192)
        file.seek(max(0, size - 8192))
        ends += file.read()
    if not re.search(mark, ends):
        raise ValueError(
            f"{value}: {path} is there, and holds no {kind}; give another file, or "
            "remove it."
        )


def check_folder_writable(flag: str, folder: str) -> None:
    """Raises ValueError if a folder cannot be made or written to."""
    if not folder:
        raise ValueError(f"--{flag}=: is empty; give a path, for example --{flag}=out.")
    if is_address(folder):
        raise ValueError(
            f"--{flag}={folder}: is an address, and only local files are written; give "
            f"a path, for example --{flag}=out, and copy it afterwards."
        )
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
