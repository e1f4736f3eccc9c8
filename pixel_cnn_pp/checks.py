"""Checks of fields of a dataclass, and of arguments: types, allowed values."""

import importlib.util
import numbers
import types
import typing
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import tensorflow as tf


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


def checked_tensor(
    value: tf.Tensor, fits: tf.Tensor, message: str, *got: tf.Tensor
) -> tf.Tensor:
    """`value` if all of `fits` is true; else InvalidArgumentError, before it is used,
    with the message and what was got. In a graph this is checked as it runs."""
    check = tf.debugging.Assert(tf.reduce_all(fits), [message, *got], summarize=16)
    # Eagerly it is None: it has raised or passed.
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(value)


def listed(names: Iterable[str], values: dict, prefix: str = "") -> str:
    """Settings as text, such as '--seed=6, --nr_filters=5' with the prefix '--'."""
    return ", ".join(f"{prefix}{name}={values.get(name)}" for name in names)


def check_types(config, int64_fields: Iterable[str] = ()) -> None:
    """Raises ValueError if a field has a value of another type than declared, or an
    integer too large for int32, or for int64 in `int64_fields`."""
    for name, kind in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _is_a(value, kind):
            is_plain = isinstance(kind, type) and not typing.get_origin(kind)
            expected = kind.__name__ if is_plain else str(kind)
            raise ValueError(f"{name}={value!r}: must be {expected}.")
        limit = 2**63 if name in int64_fields else 2**31
        if isinstance(value, int) and value >= limit:
            raise ValueError(f"{name}={value}: must be at most {limit - 1}.")


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


def check_rules(config, rules: dict[str, tuple[Callable, str]]) -> None:
    """Raises ValueError for the first field whose value its rule does not allow.

    A rule: whether a value is allowed, and what the field must be. None is allowed.
    """
    for name, (is_allowed, rule) in rules.items():
        value = getattr(config, name, None)
        if value is not None and not is_allowed(value):
            raise ValueError(f"{name}={value}: must be {rule}.")


def check_matplotlib(flag: str = "") -> None:
    """Raises ValueError, which begins with `flag`, if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError(
            f"{flag}matplotlib is not installed; pip install -e '.[plots]'."
        )


def check_integer(name: str, value, low: int, high: int) -> None:
    """Raises ValueError if an argument is no integer from low to high."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or not low <= value <= high:
        raise ValueError(f"{name}={value!r}: must be an integer from {low} to {high}.")
