"""Ways that a run ends early: a signal asks for it, or its losses are no numbers."""

import signal
import threading
from collections.abc import Callable

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A signal asked the run to end."""

    def __init__(self, signum: int, where: str = ""):
        super().__init__(f"stopped by {signal.Signals(signum).name}{where}")
        self.signum = signum
        self.exit_code = 128 + signum  # As a shell reports it.


class Diverged(Exception):
    """Loss or gradients were not finite in so many steps in a row."""


class StopSignals:
    """Listens to SIGTERM and SIGINT while it is entered, in the main thread alone.

    A signal raises Stopped at the next `check`; at once where `nothing_to_lose` is
    True. A second one has its usual effect. Where several workers take part, `any_of`
    tells all of them what one has received, so that they end after the same step, and
    none at once.
    """

    def __init__(self, any_of: Callable[[bool], bool] | None = None):
        self.any_of = any_of
        self.received: int | None = None
        self.nothing_to_lose = True
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                self._before[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(self, *_):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _receive(self, signum, _):
        if self.received is not None:  # As if nobody listened.
            signal.signal(signum, self._before[signum])
            signal.raise_signal(signum)
        self.received = signum
        if self.nothing_to_lose and not self.any_of:
            raise Stopped(signum)

    def check(self) -> None:
        """Raises Stopped where a signal has asked for it, here or at another worker."""
        received = self.received is not None
        if self.any_of(received) if self.any_of else received:
            raise Stopped(self.received or signal.SIGTERM)
