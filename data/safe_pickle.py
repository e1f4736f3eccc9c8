"""Pickles of plain objects and NumPy arrays, read without running what they name.

A pickle can call any function; here it can call only those that rebuild an array.
"""

import io
import pickle
import struct
from collections.abc import Callable

import numpy as np


def encode(text: str, encoding: str) -> bytes:
    """What pickles of protocol 2 written by Python 3 call for bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"{encoding!r} is not how bytes are pickled")
    return text.encode("latin1")


# NumPy's own name for this function has changed; a pickled array names it.
RECONSTRUCT = np.empty(0).__reduce__()[0]

ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
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


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler that finds nothing but what arrays are made of."""

    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ALLOWED[module, name]


def loads(contents: bytes, source: str) -> object:
    """The object of a pickle by Python 2 or 3; `source` names it in the error."""
    try:
        return ArrayUnpickler(io.BytesIO(contents), encoding="latin1").load()
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{source}: not a pickle of plain arrays, and no other is read ({reason}); "
            "get the original file again."
        ) from error
