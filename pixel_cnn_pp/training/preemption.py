"""Ways that a run ends early: signals, lost images, losses that are not finite."""

import re
import signal
from collections.abc import Callable

import tensorflow as tf

from pixel_cnn_pp import cluster
from pixel_cnn_pp.errors import tensorflow_reason


class Stopped(KeyboardInterrupt):
    """A signal asked the run to end: Ctrl-C, or another one, which is named."""

    def __init__(self, signum: int, where: str = ""):
        name = signal.Signals(signum).name
        by = "" if signum == signal.SIGINT else f" by {name}"
        super().__init__(f"interrupted{by}{where}")
        self.signum = signum
        self.exit_code = 128 + signum  # As a shell reports it.


class ReadFailed(Exception):
    """Images that could be read before cannot be read any more."""

    def __init__(self, error: tf.errors.OpError, resume_command: str):
        # Without the name of the error that a data set raised.
        reason = re.sub(r"^.*?Error: ", "", tensorflow_reason(error))
        super().__init__(f"{reason} Restore it and resume with {resume_command}")


class Diverged(Exception):
    """Loss or gradients were not finite in `max_bad_steps` steps in a row."""


class StopSignals:
    """Handles cluster.SIGNALS within a `with` block, in the main thread alone.

    A signal raises Stopped at the next `check`, or at once if `may_stop_at_once`. A
    second one ends the process at once. With several workers, `any_of` tells all of
    them that one has received a signal, so that they stop after the same step.
    """

    def __init__(self, any_of: Callable[[bool], bool] | None = None):
        self.any_of = any_of
        self.received: int | None = None
        self.may_stop_at_once = True

    def __enter__(self):
        self._before = cluster.handle_signals(self._receive)
        return self

    def __exit__(self, *_):
        cluster.restore_signals(self._before)

    def _receive(self, signum, _):
        if self.received == signum == signal.SIGXCPU:  # It comes every second.
            return
        if self.received is not None:  # The second one.
            signal.signal(signum, self._before[signum])
            signal.raise_signal(signum)
        self.received = signum
        if self.may_stop_at_once and not self.any_of:
            raise Stopped(signum)

    @property
    def asked(self) -> bool:
        """Whether a signal has come to this process."""
        return self.received is not None

    def check(self) -> None:
        """Raises Stopped after a signal, here or at another worker."""
        self._stop_if(self.any_of(self.asked) if self.any_of else self.asked)

    def check_step(self, stops: tf.Tensor | None) -> None:
        """As `check`, after a training step. Several workers stop if `stops`, the sum
        over all of them from a step, is above 0: it is the same at each."""
        if self.any_of is None:
            self.check()
        elif stops is not None:
            self._stop_if(float(stops) > 0)

    def _stop_if(self, asked: bool) -> None:
        if asked:
            raise Stopped(self.received or signal.SIGTERM)
