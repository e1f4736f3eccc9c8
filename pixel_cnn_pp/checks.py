"""Checks of fields of a dataclass, and of arguments: types, bounds, allowed values."""

import numbers
import types
import typing
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def as_tuple(value):
    """A list or another iterable as a tuple; text and what is none as it is."""
    is_list = isinstance(value, Iterable) and not isinstance(value, str)
    return tuple(value) if is_list else value


def as_array(name: str, values: npt.ArrayLike) -> np.ndarray:
    """An argument as an array; ValueError where its rows have different lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: must be one array ({error}).") from error


def listed(names: Iterable[str], values: dict, prefix: str = "") -> str:
    """Settings as text, such as '--seed=6, --nr_filters=5' with the prefix '--'."""
    return ", ".join(f"{prefix}{name}={values.get(name)}" for name in names)


def check_types(config) -> None:
    """Raises ValueError if a field has a value of another type than declared."""
    for name, kind in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _is_a(value, kind):
            is_plain = isinstance(kind, type) and not typing.get_origin(kind)
            expected = kind.__name__ if is_plain else str(kind)
            raise ValueError(f"{name}={value!r}: must be {expected}.")
        if isinstance(value, int):
            check_at_most(config, 2**63 - 1 if name == "run_id" else 2**31 - 1, name)


def _is_a(value, kind) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_is_a(value, one) for one in kind.__args__)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return isinstance(value, tuple) and all(_is_a(v, item) for v in value)
    if kind in (int, float):
        # NumPy's numbers are others in JSON and in a hash.
        return type(value) in (int, kind)
    return isinstance(value, kind)


def check_at_least(config, bound: int, names: str) -> None:
    """Raises ValueError if one of the fields is below `bound`; None is allowed."""
    for name in names.split():
        value = getattr(config, name)
        if value is not None and value < bound:
            raise ValueError(f"{name}={value}: must be {bound} or more.")


def check_at_most(config, bound: int, names: str) -> None:
    """Raises ValueError if one of the fields is above `bound`; None is allowed."""
    for name in names.split():
        value = getattr(config, name)
        if value is not None and value > bound:
            raise ValueError(f"{name}={value}: must be at most {bound}.")


def check_one_of(config, name: str, allowed: tuple) -> None:
    """Raises ValueError if a field has none of the allowed values."""
    value = getattr(config, name)
    if value not in allowed:
        names = ", ".join(one for one in allowed if one is not None)
        raise ValueError(f"{name}={value}: must be one of {names}.")


def check_integer(name: str, value, low: int, high: int) -> None:
    """Raises ValueError if an argument is no integer from low to high."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or not low <= value <= high:
        raise ValueError(f"{name}={value!r}: must be an integer from {low} to {high}.")
