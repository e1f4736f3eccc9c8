"""Processes of their own for scripts and code, forked after TensorFlow was imported.

Importing it takes three seconds, a fork of a process that has done so a tenth of one.
Signals, environment and exit status are those of a real process. But TensorFlow and
Keras were imported with the environment of the tests, so what they read then
(KERAS_BACKEND, TF_CPP_…) takes no effect here; test_processes.py starts real processes.
"""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parent.parent

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tensorflow", "keras"])


class Child:
    """`python *arguments` in a process of its own, with what subprocess.Popen has.

    `environment` replaces that of the tests.
    """

    def __init__(self, *arguments, cwd=ROOT, environment=None):
        self.args = [str(argument) for argument in arguments]
        self._folder = tempfile.TemporaryDirectory()
        self.paths = {n: f"{self._folder.name}/{n}" for n in ("stdout", "stderr")}
        for path in self.paths.values():
            pathlib.Path(path).touch()
        environment = dict(os.environ if environment is None else environment)
        details = (self.args, str(cwd), environment, *self.paths.values())
        self._process = _context.Process(target=_run, args=details)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def read(self, name: str) -> str:
        """What it has written to 'stdout' or 'stderr' so far."""
        return pathlib.Path(self.paths[name]).read_text()

    def send_signal(self, signum: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float) -> int:
        """Its exit status, negative if a signal ended it."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, timeout, self.read("stderr"))
        return self.returncode

    def wait_for(self, text: str, name: str = "stderr", timeout: float = 60) -> None:
        """Until it has written `text` to 'stdout' or 'stderr'."""
        end = time.monotonic() + timeout
        while text not in self.read(name):
            assert self.returncode is None, self.read("stderr")
            assert time.monotonic() < end, self.read("stderr")
            time.sleep(0.02)

    def communicate(self, timeout: float) -> tuple[str, str]:
        self.wait(timeout)
        return self.read("stdout"), self.read("stderr")


def run(*arguments, timeout=300, **settings) -> subprocess.CompletedProcess:
    """As subprocess.run."""
    child = Child(*arguments, **settings)
    stdout, stderr = child.communicate(timeout)
    return subprocess.CompletedProcess(child.args, child.returncode, stdout, stderr)


def _run(arguments, folder, environment, stdout, stderr):
    for descriptor, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    script, *rest = arguments
    if script == "-c":
        code, *rest = rest
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest]
        exec(code, {"__name__": "__main__"})
    else:
        sys.path.insert(0, str(pathlib.Path(script).parent))
        sys.argv = [script, *rest]
        runpy.run_path(script, run_name="__main__")
