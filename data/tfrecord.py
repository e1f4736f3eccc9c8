"""Records of TFRecord files by their index.

TensorFlow reads these files from their start alone. Here the places of all records are
noted once, so that any order can be read, from anywhere in it.
"""

import dataclasses
import os
import struct

import numpy as np

# A record is its length, a checksum of that, its bytes and a checksum of those.
HEADER = struct.Struct("<QI")
FOOTER = 4


def find_records(path: str) -> np.ndarray:
    """Where in a file its N records begin, in bytes, and its end: int64 [N + 1].

    Raises EOFError where the file ends within a record.
    """
    size = os.path.getsize(path)
    places = [0]
    with open(path, "rb") as file:
        while places[-1] < size:
            header = os.pread(file.fileno(), HEADER.size, places[-1])
            length = HEADER.unpack(header)[0] if len(header) == HEADER.size else size
            places.append(places[-1] + HEADER.size + length + FOOTER)
    if places[-1] > size:
        raise EOFError(f"{path} ends within its record {len(places) - 2}")
    return np.array(places)


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """N records: of each, the number of its file, and its first byte and the next one
    after it there; all int64 [N]."""

    paths: tuple[str, ...]
    files: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    @classmethod
    def at(cls, positions: dict[str, np.ndarray]) -> "Records":
        """The records at these positions, counted from 0 and ascending, of each file.

        Raises EOFError where a file has not as many, and OSError.
        """
        files, begins, ends = [], [], []
        for number, (path, wanted) in enumerate(positions.items()):
            places = find_records(path)
            if wanted[-1] + 1 >= len(places):
                raise EOFError(f"{path} has {len(places) - 1} records, too few")
            files.append(np.full(len(wanted), number))
            begins.append(places[wanted] + HEADER.size)
            ends.append(places[wanted + 1] - FOOTER)
        return cls(tuple(positions), *map(np.concatenate, (files, begins, ends)))

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> bytes:
        """The record with this index. Raises OSError."""
        begin = self.begins[index]
        with open(self.paths[self.files[index]], "rb") as file:
            return os.pread(file.fileno(), self.ends[index] - begin, begin)
