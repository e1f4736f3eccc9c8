"""The progress line: one line at the foot of a terminal, rewritten in place."""

import logging
import shutil
import sys

CLEAR = "\r\x1b[K"  # Back to the begin of the line, and all of it erased.


def clearing_stderr() -> str:
    """What begins a message on stderr that Python's logging does not write, so that it
    takes the place of the line and is not appended to it."""
    return CLEAR if sys.stderr.isatty() else ""


class ProgressLine:
    """Shows what is going on where stdout is a terminal, and nothing elsewhere.

    While it is entered, what Python logs comes on lines of its own too.
    """

    def __init__(self, is_wanted: bool = True):
        self.is_live = is_wanted and sys.stdout.isatty()
        self._is_shown = False
        self._handlers = []

    def __enter__(self):
        if self.is_live:
            loggers = (logging.root, logging.getLogger("tensorflow"))
            self._handlers = [h for logger in loggers for h in logger.handlers]
        for handler in self._handlers:
            handler.addFilter(self._before_log)
        return self

    def __exit__(self, *_):
        for handler in self._handlers:
            handler.removeFilter(self._before_log)
        self.clear()

    def _before_log(self, _) -> bool:
        self.clear()
        return True

    def show(self, text: str) -> None:
        """Rewrites the line, cut to the width of the terminal."""
        if self.is_live:
            width = shutil.get_terminal_size().columns - 1
            print(CLEAR + text[:width], end="", flush=True)
            self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            print(CLEAR, end="", flush=True)
            self._is_shown = False

    def keep(self, text: str) -> None:
        """Prints a line that stays, in place of the one that was shown."""
        self.clear()
        print(text, flush=True)
