"""Entry points run in the tests' own process: TensorFlow starts once."""

import contextlib
import dataclasses
import importlib
import io
import logging
import pathlib
import traceback
from collections.abc import Callable, Iterator

import entry_points
from absl import flags
from absl import logging as absl_logging


@dataclasses.dataclass
class Done:
    """How a command line ended, as its caller would see it."""

    code: int
    stdout: str
    stderr: str


@contextlib.contextmanager
def entry_point(name: str) -> Iterator[Callable[[str, pathlib.Path], Done]]:
    """Imports an entry point and yields a function that runs it in a folder.

    Each command line starts with every flag at its default. In the end the flags are
    forgotten, so that another entry point can define its own.
    """
    entry_points.forget()
    handlers, verbosity = logging.root.handlers[:], absl_logging.get_verbosity()
    main = importlib.import_module(name).main
    start = importlib.import_module("cli").run

    def run(line: str, folder: pathlib.Path) -> Done:
        for flag in flags.FLAGS:
            flags.FLAGS[flag].unparse()
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                start(main, [name, *line.split()])
            except SystemExit as end:
                code = end.code or 0
                if isinstance(code, str):  # As the interpreter does.
                    print(code, file=err)
                    code = 1
            except Exception:
                traceback.print_exc()
                code = 1
        return Done(code, out.getvalue(), err.getvalue())

    try:
        yield run
    finally:
        entry_points.forget()
        logging.root.handlers[:] = handlers
        absl_logging.set_verbosity(verbosity)
