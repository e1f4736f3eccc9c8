"""TensorFlow imported without the notes on its start that say nothing to the user."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator

LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# What is noted before TensorFlow reads its level, and that this machine has no CUDA
# driver (303). A driver that fails otherwise is an error and is written.
NOTES = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|I0000 "
    rb"|E0000 .*failed call to cuInit: .*\(303\)"
)


def import_tensorflow() -> None:
    """Imports TensorFlow; an entry point does this before anything else imports it.

    TensorFlow reads the level of its C++ notes as it is loaded: 2 here, errors alone.
    Where the user has set TF_CPP_MIN_LOG_LEVEL, all that it lets through is written.
    """
    if LEVEL in os.environ or "tensorflow" in sys.modules:
        return
    os.environ[LEVEL] = "2"
    with _without_notes():
        import tensorflow as tf

        tf.config.list_physical_devices()  # What it notes about them, it notes now.
    del os.environ[LEVEL]  # Commands started from here silence their own start.


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Leaves the lines of NOTES out of what is written to stderr, by C++ too.

    Another process does: it also writes the last words of this one, should it abort.
    """
    if not hasattr(os, "fork") or sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # It is for the other process.
            os.close(write)
            with open(read, "rb") as lines:
                for line in lines:
                    if not NOTES.match(line):
                        os.write(2, line)
        finally:
            os._exit(0)
    os.close(read)
    stderr = os.dup(2)
    os.dup2(write, 2)
    os.close(write)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        os.waitpid(child, 0)
