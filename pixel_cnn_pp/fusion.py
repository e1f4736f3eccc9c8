"""Elementwise work in one pass over memory: fused by XLA, where a graph asks for it."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

import tensorflow as tf

_is_on = contextvars.ContextVar("fusing", default=False)


@contextlib.contextmanager
def fusing(on: bool) -> Iterator[None]:
    """While a graph is traced: whether XLA compiles in it what is `fusable`.

    It does so once for each shape and takes about .1 s for it, so it pays where shapes
    come again and again; and whoever runs the graph must have XLA. Off by default.
    """
    token = _is_on.set(on)
    try:
        yield
    finally:
        _is_on.reset(token)


def is_on() -> bool:
    return _is_on.get()


def fusable(function: Callable) -> Callable:
    """A function of tensors that becomes one kernel in graphs traced under `fusing`.

    What else it takes is hashable.
    """
    fused = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*tensors, **settings):
        fuses = is_on() and tf.inside_function()
        return (fused if fuses else function)(*tensors, **settings)

    return call
