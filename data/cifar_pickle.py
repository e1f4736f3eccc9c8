"""Python batches of CIFAR-10, unpickled without running what a file asks for.

A pickle is a program. Here it can only build plain data: opcodes that a batch does not
need are rejected before anything is run, and each name that an array needs is replaced
by a record of its arguments.
"""

import math
import pickle
import pickletools
from io import BytesIO

import numpy as np

from data.source import DAMAGE, shown

NAMES = {
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "_codecs.encode",  # Protocol 2 of Python 3 writes bytes with it.
}
PLAIN = set(
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 "
    "SHORT_BINSTRING BINSTRING SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES BINBYTES "
    "EMPTY_DICT EMPTY_LIST EMPTY_TUPLE APPEND APPENDS SETITEM SETITEMS "
    "BINPUT LONG_BINPUT MEMOIZE".split()
)
# Tuples that hold one another many times take exponentially long to hash.
FEW = set(
    "TUPLE TUPLE1 TUPLE2 TUPLE3 BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE "
    "BUILD".split()
)
MAX_FEW = 40  # An original batch has 13.
MAX_OPCODES = 1_000_000  # An original batch has some 20,000.


class Record:
    """Name, arguments and state of an object that a pickle describes."""

    def __init__(self, name: str, arguments: tuple = ()):
        self.name = name
        self.arguments = arguments
        self.state = None

    def __call__(self, *arguments: object) -> "Record":
        return Record(self.name, arguments)

    def __setstate__(self, state: object) -> None:
        self.state = state


class BatchUnpickler(pickle.Unpickler):
    """Makes records of the names in NAMES and rejects all others."""

    def find_class(self, module: str, name: str) -> Record:
        full_name = f"{module}.{name}"
        if full_name not in NAMES:
            raise ValueError(f"it asks for {full_name}")
        return Record(full_name)


def check_opcodes(contents: bytes) -> None:
    """Raises ValueError for a pickle that does more than a batch needs."""
    few = 0
    for i, (opcode, argument, _) in enumerate(pickletools.genops(contents)):
        few += opcode.name in FEW
        if opcode.name not in PLAIN | FEW:
            raise ValueError(f"it has the opcode {opcode.name}")
        if i >= MAX_OPCODES or few > MAX_FEW:
            raise ValueError("it has more opcodes than a batch")
        # Python's memo is an array as long as its highest index.
        if opcode.name == "LONG_BINPUT" and argument >= MAX_OPCODES:
            raise ValueError(f"it has the memo index {argument}")


def load_batch(contents: bytes, source: str) -> dict:
    """The dict of a batch, arrays as records; `source` names the file in errors."""
    try:
        check_opcodes(contents)
        batch = BatchUnpickler(BytesIO(contents), encoding="latin1").load()
    except DAMAGE as error:
        raise ValueError(
            f"{source} is not a pickle of plain arrays ({shown(str(error))[:100]}); "
            "get the original file again."
        ) from error
    return batch if isinstance(batch, dict) else {}


def uint8_array(record: object) -> np.ndarray | None:
    """The array of a record; None where it does not describe a whole uint8 array."""
    match getattr(record, "state", None):
        case (int(), tuple(shape), Record(arguments=("u1", *_)), order, raw):
            pass
        case _:
            return None
    if isinstance(raw, Record) and raw.arguments and raw.name == "_codecs.encode":
        raw = raw.arguments[0]
    if isinstance(raw, str):
        raw = raw.encode("latin1", errors="ignore")
    is_shape = all(type(n) is int and n >= 0 for n in shape) and len(shape) <= 4
    if not isinstance(raw, bytes) or not is_shape or math.prod(shape) != len(raw):
        return None
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if order else "C")
