"""Command line: errors of the user end in one line."""

import contextlib
import sys
from collections.abc import Iterator


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
