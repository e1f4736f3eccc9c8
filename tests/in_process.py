"""Entry points run in the tests' own process: TensorFlow starts once."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import command_lines


@dataclasses.dataclass
class Done:
    """How a command line ended, as its caller would see it."""

    code: int
    stdout: str
    stderr: str


@contextlib.contextmanager
def entry_point(name: str) -> Iterator[Callable[[str, pathlib.Path], Done]]:
    """Yields a function that runs an entry point in a folder."""
    (script,) = (s for s in command_lines.SCRIPTS if pathlib.Path(s).stem == name)

    def run(line: str, folder: pathlib.Path) -> Done:
        done = command_lines.run(script, line, folder)
        return Done(done.returncode, done.stdout, done.stderr)

    yield run
