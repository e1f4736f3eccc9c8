"""Runs many command lines of one entry point in one process: TensorFlow starts once.

`python command_lines.py train LINES` takes a JSON list of lists of arguments and prints
a JSON list of {code, stdout, stderr}, each as the system would see it.
"""

import contextlib
import importlib
import json
import os
import pathlib
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from absl import flags

# TensorFlow writes these to stderr as it starts, whatever it is told.
STARTUP_NOTE = re.compile(r"[IWE]0000 00:00:|WARNING: All log messages before absl::")


def own_lines(stderr: str) -> list[str]:
    """What the program itself wrote to stderr."""
    return [line for line in stderr.splitlines() if not STARTUP_NOTE.match(line)]


def contents_of(folder: pathlib.Path) -> dict[str, bytes | None]:
    """Everything below a folder by its path; None for a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@contextlib.contextmanager
def captured(descriptor: int) -> Iterator[dict]:
    """What anyone, C++ too, writes to a file descriptor: 'text' of the dict, after."""
    found = {}
    ours = os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        try:
            yield found
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(ours, descriptor)
            os.close(ours)
            file.seek(0)
            found["text"] = file.read().decode()


def run(main, arguments: list[str]) -> dict:
    """One command line, every flag that it does not give at its default."""
    import cli  # After the entry point.

    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    with captured(1) as stdout, captured(2) as stderr:
        try:
            cli.run(main, [main.__module__, *arguments])
        except SystemExit as end:
            code = end.code or 0
        except Exception:
            traceback.print_exc()
            code = 1
    return {"code": code, "stdout": stdout["text"], "stderr": stderr["text"]}


if __name__ == "__main__":
    entry_point = importlib.import_module(sys.argv[1])
    results = [
        run(entry_point.main, arguments) for arguments in json.loads(sys.argv[2])
    ]
    print(json.dumps(results))
