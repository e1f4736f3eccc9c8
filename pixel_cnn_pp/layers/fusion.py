"""Fusion: elementwise operations in one pass over memory, compiled by XLA.

Worth about 10 % of a training step with -q 2 -n 32 (docs/speed.md, --nojit_compile).
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

import tensorflow as tf

_is_on = contextvars.ContextVar("fusing", default=False)


@contextlib.contextmanager
def fusing(on: bool) -> Iterator[None]:
    """Within it, traced graphs let XLA compile their `fusable` functions.

    Compiling takes about .1 s per shape, and whoever runs the graph must have XLA, so
    it is off unless training or scoring asks for it.
    """
    token = _is_on.set(on)
    try:
        yield
    finally:
        _is_on.reset(token)


def is_on() -> bool:
    return _is_on.get()


def fusable(function: Callable) -> Callable:
    """Makes a function of tensors one kernel in graphs traced under `fusing`.

    Arguments by name must be hashable.
    """
    fused = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*tensors, **settings):
        fuses = is_on() and tf.inside_function()
        return (fused if fuses else function)(*tensors, **settings)

    return call
