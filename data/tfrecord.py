"""Records of TFRecord files by their index.

TensorFlow reads these files only from their start. Here the places of all records are
noted once, so that records can be read in any order.
"""

import dataclasses
import os
import struct

import numpy as np

# A record is its length, a checksum of that, its bytes and a checksum of those.
HEADER = struct.Struct("<QI")
FOOTER = 4


def find_records(path: str) -> np.ndarray:
    """Offsets in bytes of the N records of a file, and of its end: int64 [N + 1].

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
    """N records: of each the number of its file, and the offsets there of its first
    byte and of the first byte after it; all int64 [N]."""

    paths: tuple[str, ...]
    files: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    @classmethod
    def at(cls, positions: dict[str, np.ndarray]) -> "Records":
        """The records at the positions, counted from 0 and ascending, in each file.

        Raises EOFError where a file has fewer, and OSError.
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
