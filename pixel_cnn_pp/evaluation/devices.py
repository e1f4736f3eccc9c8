"""Machine: its devices with the same model on each, and its part of the work."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import tensorflow as tf

from pixel_cnn_pp.model import PixelCNNPP

Item, Result = TypeVar("Item"), TypeVar("Result")
# Called now and then while an item is worked on; raises where that should end.
Check = Callable[..., None]


@dataclasses.dataclass(frozen=True)
class Machine:
    """Names of the devices of this machine; which of how many machines it is.

    Without devices TensorFlow chooses one.
    """

    devices: Sequence[str] = ()
    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def part(self, n: int) -> tuple[int, int]:
        """Begin and end of this machine's part of n items in order."""
        return n * self.index // self.count, n * (self.index + 1) // self.count

    def map(
        self,
        model: PixelCNNPP,
        make_function: Callable[[PixelCNNPP, Check], Callable[[Item], Result]],
        items: Iterable[Item],
        num_items: int,
    ) -> Iterator[Result]:
        """The result of each item, in order; the devices take the items in turn.

        Each has a thread and a copy of the model, of which `make_function` makes the
        function to call: what an item gives does not depend on the number of devices.
        No more than one item per device waits.
        """
        devices = self.devices[:num_items]
        if len(devices) < 2:
            yield from map(make_function(model, lambda *_: None), items)
            return
        stopping = threading.Event()

        def check(*_) -> None:
            if stopping.is_set():
                raise concurrent.futures.CancelledError

        with contextlib.ExitStack() as stack:
            workers = []  # (thread, device, function)
            for device, copy in copies_on(devices, model):
                thread = concurrent.futures.ThreadPoolExecutor(1)
                stack.callback(thread.shutdown, cancel_futures=True)
                workers.append((thread, device, make_function(copy, check)))
            stack.callback(stopping.set)  # Before the threads are waited for.
            started = collections.deque()
            for item, (thread, *task) in zip(items, itertools.cycle(workers)):
                started.append(thread.submit(_run_on, *task, item))
                if len(started) > len(workers):
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()


ONE_MACHINE = Machine()


def copies_on(
    devices: Sequence[str], model: PixelCNNPP
) -> Iterator[tuple[str, PixelCNNPP]]:
    """Each device and the model on it; the model itself is on the first."""
    yield devices[0], model
    for device in devices[1:]:
        with tf.device(device):
            copy = PixelCNNPP.from_config(model.get_config())
            for name, variable in copy.tf_variables().items():
                variable.assign(model.tf_variables()[name])
        yield device, copy


def _run_on(device: str, function: Callable[[Item], Result], item: Item) -> Result:
    with tf.device(device):
        return function(item)
