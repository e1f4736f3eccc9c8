"""Plain data and uint8 arrays of pickles, which are never run.

A pickle is a program. It can call any function, and even where it finds none, Python's
own unpickler lets it change what it is given, fill the memory or overflow the stack.
So the operations that the batches of CIFAR-10 are made of are done here, on plain data:
no name is looked up, nothing is called, and every other operation is refused. (Python's
pickletools only cuts the bytes into operations.)
"""

import math
import pickletools
import struct

import numpy as np

from data.source import shown

MAX_OPERATIONS = 1_000_000  # A batch of CIFAR-10 has some 30,000.

# What the operation pushes is its argument, or a new value of its own.
PUSHES_ARGUMENT = set(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES "
    "BINBYTES BINBYTES8".split()
)
PUSHES_VALUE = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}

# Names that stand in the pickle of an array. Here they are but names.
RECONSTRUCT = {
    "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct",
}
NDARRAY, DTYPE = "numpy ndarray", "numpy dtype"
ENCODE = "_codecs encode"  # What protocol 2 of Python 3 has for bytes.
MARK = object()


class Name:
    """A name that the pickle has, of those above."""

    def __init__(self, name: str):
        if name not in {*RECONSTRUCT, NDARRAY, DTYPE, ENCODE}:
            raise ValueError(f"it asks for {name.replace(' ', '.')}")
        self.name = name


class PickledDtype:
    """What is said of a dtype: its code."""

    def __init__(self, code: str):
        self.code = code


class PickledArray:
    """What is said of an array: (version, shape, dtype, is_fortran, bytes)."""

    state: object = None


class Reader:
    """The stack and the memo of a pickle that is read."""

    def __init__(self, contents: bytes):
        self.contents = contents
        self.stack: list = []
        self.memo: dict[int, object] = {}
        self.to_encode = len(contents)  # Characters; each text stands there once.

    def read(self) -> object:
        operations = pickletools.genops(self.contents)
        for count, (operation, argument, _) in enumerate(operations):
            if count >= MAX_OPERATIONS:
                raise ValueError(f"it has more than {MAX_OPERATIONS} operations")
            if operation.name == "STOP":
                return self.stack.pop()
            self.do(operation.name, argument)

    def do(self, operation: str, argument: object) -> None:
        stack, memo = self.stack, self.memo
        match operation:
            case _ if operation in PUSHES_ARGUMENT:
                stack.append(argument)
            case _ if operation in PUSHES_VALUE:
                stack.append(PUSHES_VALUE[operation]())
            case "PROTO" | "FRAME":
                pass
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "MARK":
                stack.append(MARK)
            case "APPEND":
                extend(stack[-2], [stack.pop()])
            case "APPENDS":
                items = self.pop_to_mark()
                extend(stack[-1], items)
            case "LIST":
                stack.append(self.pop_to_mark())
            case "SETITEM":
                items = self.pop(2)
                update(stack[-1], items)
            case "SETITEMS":
                items = self.pop_to_mark()
                update(stack[-1], items)
            case "DICT":
                stack.append(update({}, self.pop_to_mark()))
            case "TUPLE":
                stack.append(tuple(self.pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.pop(int(operation[-1]))))
            case "GLOBAL":
                stack.append(Name(argument))
            case "STACK_GLOBAL":
                module, name = self.pop(2)
                if not type(module) is type(name) is str:
                    raise ValueError("it asks for a name that is no text")
                stack.append(Name(f"{module} {name}"))
            case "REDUCE":
                stack.append(self.reduce(*self.pop(2)))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], PickledArray):
                    stack[-1].state = state
                elif not isinstance(stack[-1], PickledDtype):
                    raise ValueError("it sets the state of no array")
                # Of a dtype it is byte order and alignment: a uint8 has none.
            case _:
                raise ValueError(f"it asks for {operation}")

    def pop(self, num: int) -> list:
        if len(self.stack) < num:
            raise ValueError("it takes more than there is")
        items = self.stack[-num:]
        del self.stack[-num:]
        return items

    def pop_to_mark(self) -> list:
        items = []
        while (item := self.stack.pop()) is not MARK:
            items.append(item)
        return items[::-1]

    def reduce(self, called: object, arguments: object) -> object:
        """What the call of a name gives, on which only the three here are agreed."""
        name = called.name if isinstance(called, Name) else None
        match arguments:
            case tuple() if name in RECONSTRUCT:
                return PickledArray()
            case (str(code), *_) if name == DTYPE:
                return PickledDtype(code)
            case (str(text), "latin1") if name == ENCODE:
                self.to_encode -= len(text)
                if self.to_encode < 0:
                    raise ValueError("it repeats its bytes")
                return text.encode("latin1")
        raise ValueError("it makes something else")


def extend(items: object, new: list) -> None:
    if not isinstance(items, list):
        raise ValueError("it appends to no list")
    items.extend(new)


def update(items: object, new: list) -> dict:
    """Keys and values in turn, put into a dict."""
    keys = new[::2]
    if not isinstance(items, dict) or not all(type(k) in (str, bytes) for k in keys):
        raise ValueError("it has a dict of other keys than names")
    items.update(zip(keys, new[1::2], strict=True))
    return items


def loads(contents: bytes, source: str) -> object:
    """The object of a pickle by Python 2 or 3; `source` names it in the error.

    Arrays in it are PickledArray: read them with `uint8_array`.
    """
    try:
        return Reader(contents).read()
    except (ValueError, LookupError, struct.error) as error:
        raise ValueError(
            f"{source}: not a pickle of plain arrays, and no other is read "
            f"({shown(str(error))[:100]}); get the original file again."
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
    if len(shape) > 4 or not all(type(n) is int and n >= 0 for n in shape):
        return None
    if math.prod(shape) != len(raw):
        return None
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if order else "C")
