"""Runs command lines of the entry points in the process of the tests.

Entry points define flags of the same names, and absl has one registry for a process.
So the flags of each are registered only while it is imported and while it runs.
"""

import contextlib
import functools
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator

from absl import flags, logging

ROOT = pathlib.Path(__file__).parent.parent
FLAGS = flags.FLAGS
OURS = ("train.py", "evaluate.py", "sample.py", "export.py", "plot.py")
SCRIPTS = (
    *OURS,
    *(
        f"{folder}/{path.name}"
        for folder in ("benchmarks", "tools")
        for path in sorted(ROOT.glob(f"{folder}/*.py"))
        if ".run(main)" in path.read_text()
    ),
    "tests/kill_and_resume.py",
)
# Modules that define flags for the scripts.
MODULES = {path.stem for path in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")]}

# How lines begin that TensorFlow writes to stderr whatever its log level: as it starts,
# and, of several lines, where a worker has ended before this one.
LINE_OF_TENSORFLOW = re.compile(
    r"[IWE]0000 00:00:|WARNING: All log messages before absl::|To enable the following "
    "|Additional GRPC error information from remote target |:UNKNOWN:Error received "
)


def own_lines(stderr: str) -> list[str]:
    """What the program itself wrote to stderr."""
    return [line for line in stderr.splitlines() if not LINE_OF_TENSORFLOW.match(line)]


def contents_of(folder: pathlib.Path) -> dict[str, bytes | None]:
    """Everything below a folder by its path; None for a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@contextlib.contextmanager
def captured(name: str) -> Iterator[dict]:
    """What Python and C++ write to sys.stdout or sys.stderr: 'text', after the end."""
    found, descriptor = {}, {"stdout": 1, "stderr": 2}[name]
    theirs, kept = getattr(sys, name), os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        setattr(sys, name, os.fdopen(os.dup(descriptor), "w", buffering=1))
        try:
            yield found
        finally:
            getattr(sys, name).close()
            setattr(sys, name, theirs)
            os.dup2(kept, descriptor)
            os.close(kept)
            file.seek(0)
            found["text"] = file.read().decode()


@contextlib.contextmanager
def absl_logs_to_stderr() -> Iterator[None]:
    """absl's handler holds the stderr of its import; its verbosity is set back."""
    handler, verbosity = (
        logging.get_absl_handler().python_handler,
        logging.get_verbosity(),
    )
    before = handler.setStream(sys.stderr)
    handler.addFilter(_is_of_one_process)
    try:
        yield
    finally:
        handler.removeFilter(_is_of_one_process)
        handler.setStream(before)
        logging.set_verbosity(verbosity)


def _is_of_one_process(record) -> bool:
    """False for what TensorFlow says only because a process makes many models."""
    return "triggered tf.function retracing" not in record.getMessage()


class EntryPoint:
    """A script of the checkout, with flags that do not meet those of the others.

    key_flags: what its --help shows, by name.
    """

    def __init__(self, script: str):
        path = ROOT / script
        # The script and what defines flags for it are imported anew.
        flags_by_module = FLAGS.flags_by_module_dict()
        for name in MODULES & {*flags_by_module, path.stem}:
            _unregister(_flags_of(name))
            sys.modules.pop(name, None)
        before = set(FLAGS)
        with _on_path(path.parent):
            self.module = importlib.import_module(path.stem)
        self.key_flags = {
            flag.name: flag for flag in FLAGS.get_key_flags_for_module(self.module)
        }
        self.flags = {name: FLAGS[name] for name in set(FLAGS) - before}
        _unregister(self.flags)

    @contextlib.contextmanager
    def registered(self) -> Iterator[None]:
        """Within, absl's registry has this script's flags, at their defaults."""
        _unregister(self.flags.keys() & set(FLAGS))  # Those of a module imported since.
        try:
            for flag in {flag.name: flag for flag in self.flags.values()}.values():
                FLAGS[flag.name] = flag
            FLAGS.unparse_flags()
            for name in FLAGS:
                FLAGS[name].unparse()
            yield
        finally:
            _unregister(self.flags.keys() & set(FLAGS))

    def parse(self, arguments: list[str]) -> str:
        """Why absl rejects these arguments; empty where it does not."""
        with self.registered():
            try:
                rest = FLAGS([self.module.__name__, *arguments])
            except flags.Error as error:
                return str(error)
        return "" if len(rest) == 1 else f"left over: {rest[1:]}"

    def run(self, line: str, folder) -> subprocess.CompletedProcess:
        """Runs a command line in a folder; the result is that of a process."""
        import cli  # Here, so that TensorFlow's log level is set by the tests.

        arguments = [self.module.__name__, *line.split()]
        with (
            self.registered(),
            contextlib.chdir(folder),
            captured("stdout") as stdout,
            captured("stderr") as stderr,
            absl_logs_to_stderr(),
        ):
            try:
                cli.run(self.module.main, arguments)
                code = 0
            except SystemExit as end:
                code = end.code or 0
                if isinstance(code, str):  # As the interpreter does.
                    print(code, file=sys.stderr)
                    code = 1
            except Exception:
                traceback.print_exc()
                code = 1
        found = stdout["text"], stderr["text"]
        return subprocess.CompletedProcess(arguments, code, *found)


def _flags_of(module: str) -> set[str]:
    """Names and short names of the registered flags that a module defined."""
    return {name for name in FLAGS if FLAGS.find_module_defining_flag(name) == module}


def _unregister(names: Iterable[str]) -> None:
    for name in names:
        delattr(FLAGS, name)


@contextlib.contextmanager
def _on_path(folder: pathlib.Path) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:0] = [str(ROOT), str(folder)]
    try:
        yield
    finally:
        sys.path[:] = before


@functools.cache
def entry_point(script: str) -> EntryPoint:
    """The entry point of a script, like "train.py", imported once."""
    return EntryPoint(script)


def run(script: str, line: str, folder) -> subprocess.CompletedProcess:
    """Runs a command line of a script in a folder, in this process."""
    return entry_point(script).run(line, folder)


if __name__ == "__main__":
    # A JSON list of lists of arguments in; one of {code, stdout, stderr} out.
    results = [
        run(f"{sys.argv[1]}.py", " ".join(arguments), ".")
        for arguments in json.loads(sys.argv[2])
    ]
    keys = {"code": "returncode", "stdout": "stdout", "stderr": "stderr"}
    print(json.dumps([{k: getattr(r, v) for k, v in keys.items()} for r in results]))
