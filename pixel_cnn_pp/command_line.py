"""Command line: errors of the user end in one line."""

import contextlib
import sys
from collections.abc import Iterator


def refuse_arguments(argv: list[str]) -> None:
    """Raises ValueError where words are left on the command line beside the flags."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; every setting is a flag.")


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Ends the process with code 1 and the message of a ValueError or OSError."""
    try:
        yield
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
