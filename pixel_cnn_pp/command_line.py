"""Command line: quiet unless asked otherwise, errors of the user end in one line."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from absl import app, logging


def run(main: Callable, argv: list[str] | None = None) -> None:
    """absl's `app.run`, which without --verbosity writes warnings and errors alone."""
    # Before the flags are parsed, so that the user's has the last word. absl itself
    # would make it INFO.
    logging.set_verbosity(logging.WARNING)
    app.run(main, argv)


def refuse_arguments(argv: list[str]) -> None:
    """Raises ValueError where words are left on the command line beside the flags."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; every setting is a flag.")


@contextlib.contextmanager
def errors_in_one_line(kinds=(ValueError, OSError)) -> Iterator[None]:
    """Ends the process with the message of an error of these kinds and with its
    `exit_code`, 1 where it has none."""
    try:
        yield
    except kinds as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
