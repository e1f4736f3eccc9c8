"""Python batches of CIFAR-10, unpickled without running what a file asks for.

A pickle is a program that calls what it names. Here it can name only what an array
needs, and a stand-in is called in its place: NumPy's own functions would allocate the
memory that a file declares.
"""

import pickle
import pickletools
from io import BytesIO

import numpy as np

NAMES = {
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "_codecs.encode",  # Protocol 2 of Python 3 writes bytes with it.
}
MAX_OPCODES = 1_000_000  # An original batch has some 20,000.
# Integers of any length: many of them can have the same hash, so dicts get slow.
LONG = set("LONG LONG1 LONG4 INT".split())
# Nested tuples can take exponential time to hash, or overflow the stack.
NESTING = set("TUPLE TUPLE1 TUPLE2 TUPLE3 GET BINGET LONG_BINGET DUP".split())
MAX_NESTING = 40  # An original batch has 6.


class StandIn:
    """The arguments and the state of an object that a pickle describes."""

    def __init__(self, *arguments: object):
        self.arguments = arguments
        self.state = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class BatchUnpickler(pickle.Unpickler):
    """Makes stand-ins of what is in NAMES and rejects all else."""

    def find_class(self, module: str, name: str) -> type[StandIn]:
        if f"{module}.{name}" not in NAMES:
            raise ValueError(f"it asks for {module}.{name}")
        return StandIn


def check_opcodes(contents: bytes) -> None:
    """Raises ValueError for few bytes that would take much memory or time."""
    nesting = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(contents)):
        # The memo is an array as long as its highest index.
        index = argument if opcode.name.endswith("PUT") else 0
        nesting += opcode.name in NESTING
        is_long = opcode.name in LONG
        if is_long or max(number, index) > MAX_OPCODES or nesting > MAX_NESTING:
            raise ValueError("it does more than a batch needs")


def load_batch(contents: bytes) -> object:
    """What a batch holds, its arrays as stand-ins. Raises what is in DAMAGE."""
    check_opcodes(contents)
    return BatchUnpickler(BytesIO(contents), encoding="latin1").load()


def uint8_array(array: object) -> np.ndarray:
    """The array of a stand-in. Raises what is in DAMAGE where it is none of uint8."""
    if not isinstance(array, StandIn):
        raise ValueError("its images are no array")
    _, shape, dtype, is_fortran, raw = array.state
    if dtype.arguments[0] != "u1":
        raise ValueError("it is not of uint8")
    if isinstance(raw, StandIn):  # Of _codecs.encode.
        raw = raw.arguments[0]
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if is_fortran else "C")
