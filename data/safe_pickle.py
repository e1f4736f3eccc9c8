"""Pickled uint8 arrays in plain objects, read without calling what the pickle names.

A pickle can call any function, and NumPy's own, which rebuild an array, trust what they
are given. So the few names that a pickled array needs are stand-ins that only keep what
they are told, and every other name is refused.
"""

import io
import math
import pickle
import struct

import numpy as np


class PickledDtype:
    """Stands in for numpy.dtype."""

    def __init__(self, code: str, *_):
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        pass  # Byte order and alignment: a uint8 has none.


class PickledArray:
    """Stands in for the empty array that NumPy makes first and fills from the state."""

    def __init__(self, *_):
        self.state = None

    def __setstate__(self, state: tuple) -> None:
        self.state = state


def encode(text: str, encoding: str) -> bytes:
    """What pickles of protocol 2 written by Python 3 call for bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are not pickled as {encoding!r}")
    return text.encode("latin1")


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("numpy", "ndarray"): "ndarray",  # An argument of _reconstruct, never called.
    ("numpy", "dtype"): PickledDtype,
    ("_codecs", "encode"): encode,
}

# What a damaged pickle makes the unpickler raise, beside its own error.
DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,  # UnicodeDecodeError too.
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    MemoryError,
    struct.error,
)


class StandInUnpickler(pickle.Unpickler):
    """Unpickler that finds nothing but the stand-ins."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return STAND_INS[module, name]


def loads(contents: bytes, source: str) -> object:
    """The object of a pickle by Python 2 or 3; `source` names it in the error.

    Arrays in it are PickledArray: read them with `uint8_array`.
    """
    try:
        return StandInUnpickler(io.BytesIO(contents), encoding="latin1").load()
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{source}: not a pickle of plain arrays, and no other is read ({reason}); "
            "get the original file again."
        ) from error


def uint8_array(pickled: object) -> np.ndarray | None:
    """The array of a PickledArray; None where it is not a whole array of uint8."""
    match getattr(pickled, "state", None):
        case (
            int(),
            tuple(shape),
            PickledDtype(code="u1"),
            order,
            str() | bytes() as raw,
        ):
            pass
        case _:
            return None
    if isinstance(raw, str):
        raw = raw.encode("latin1", errors="ignore")
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) != len(
        raw
    ):
        return None
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if order else "C")
