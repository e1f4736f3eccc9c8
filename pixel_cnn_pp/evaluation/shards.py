"""Shards: numbered NPZ files that several machines write, and that are resumed."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from pixel_cnn_pp.checks import listed
from pixel_cnn_pp.files import FolderLock, open_atomic
from pixel_cnn_pp.model import PixelCNNPP

# What NumPy raises for a file that is no whole NPZ.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)


def model_id(model: PixelCNNPP) -> str:
    """Hash of the settings and parameters of a model."""
    digest = hashlib.sha256(repr(model.config).encode())
    digest.update(model.linear_layers[0].rounded_to.encode())
    for name, variable in sorted(model.tf_variables().items()):
        digest.update(name.encode())
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Shards:
    """`count` files `name`-00000.npz, … in --output_dir.

    `settings`, values of JSON by name, identify the job. Each file holds them and its
    number: existing files are reused, and those with other settings rejected. `arrays`:
    names of what each holds besides.
    """

    output_dir: str
    name: str
    count: int
    settings: dict[str, Any]
    arrays: tuple[str, ...] = ()

    def path(self, number: int) -> str:
        return os.path.join(self.output_dir, f"{self.name}-{number:05d}.npz")

    def written(self) -> set[int]:
        """Numbers of the files that are there, also beyond `count`."""
        folder = self.output_dir
        names = os.listdir(folder) if os.path.isdir(folder) else []
        pattern = re.compile(rf"{re.escape(self.name)}-(\d{{5,9}})\.npz")
        return {int(match[1]) for match in map(pattern.fullmatch, names) if match}

    @contextlib.contextmanager
    def locked(self, number: int) -> Iterator[None]:
        """Keeps other processes of a machine's number from writing to the folder.

        Raises Locked, and OSError where files are there that are not of these.
        """
        os.makedirs(self.output_dir, exist_ok=True)
        with FolderLock(self.output_dir, "output_dir", name=f"lock-{number}"):
            for written in sorted(self.written()):
                self.read(written)
            yield

    def missing(self) -> list[int]:
        return sorted(set(range(self.count)) - self.written())

    def write(self, number: int, **arrays: np.ndarray) -> None:
        """Writes a whole file, or none."""
        with open_atomic(self.path(number), "wb") as file:
            np.savez(file, settings=json.dumps(self._settings_of(number)), **arrays)

    def read(self, number: int) -> dict[str, np.ndarray]:
        """The arrays of a file. OSError where it is damaged or has other settings."""
        # As JSON has them, where tuples are lists.
        now = json.loads(json.dumps(self._settings_of(number)))
        try:
            with np.load(self.path(number), allow_pickle=False) as file:
                arrays = {name: file[name] for name in {*file.files, *self.arrays}}
                then = json.loads(str(arrays.pop("settings")))
                names = sorted(then | now)
        except _DAMAGE as error:
            raise OSError(
                f"--output_dir={self.output_dir}: {self.path(number)} is damaged, or "
                "was not written by this command; remove it."
            ) from error
        changed = [name for name in names if then.get(name) != now.get(name)]
        if changed:
            given, had = (listed(changed, values) for values in (now, then))
            raise OSError(
                f"--output_dir={self.output_dir}: {self.path(number)} was written with "
                f"{had:.300}, not {given:.300}; give another --output_dir, or remove "
                "the files there."
            )
        return arrays

    def _settings_of(self, number: int) -> dict[str, Any]:
        return self.settings | {"number": number}

    def remove(self) -> None:
        for number in range(self.count):
            os.remove(self.path(number))

    def wait(self, timeout: float) -> None:
        """Waits for the files of the other machines.

        Raises OSError where none comes for `timeout` seconds.
        """
        before, since = None, time.monotonic()
        while missing := self.missing():
            if before is None:
                files = f"{len(missing)} files such as {self.path(missing[0])}"
                print(f"waiting for {files}", file=sys.stderr, flush=True)
            if missing != before:
                before, since = missing, time.monotonic()
            if time.monotonic() - since > timeout:
                raise OSError(
                    f"TF_CONFIG: no machine wrote {self.path(missing[0])} in {timeout} "
                    "s; start the command on all machines again, which keeps what is "
                    "written, or wait longer with --worker_timeout."
                )
            time.sleep(1)
