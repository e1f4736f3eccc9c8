"""What a terminal shows of what is written to it, for the tests."""

import io
import os
import pty
import re
import subprocess


class Terminal(io.StringIO):
    """Stands for sys.stdout where it is a terminal."""

    def isatty(self):
        return True


def screen(text: str) -> list[str]:
    """The lines on an endlessly wide and high terminal."""
    lines, column = [""], 0
    for token in re.findall(r"\r|\n|\x1b\[K|[^\r\n\x1b]+", text):
        if token == "\r":
            column = 0
        elif token == "\n":
            lines.append("")
            column = 0
        elif token == "\x1b[K":
            lines[-1] = lines[-1][:column]
        else:
            after = lines[-1][column + len(token) :]
            lines[-1] = lines[-1][:column].ljust(column) + token + after
            column += len(token)
    return lines


def shown_in_turn(text: str) -> list[str]:
    """Every line that was shown at some time, rewritten ones too."""
    return [line for line in re.split(r"[\r\n]|\x1b\[K", text) if line]


def run_on_terminal(command: list, env: dict) -> tuple[int, str]:
    """Exit code and output of a command with one terminal for stdout and stderr."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    written = b""
    while True:
        try:
            written += os.read(ours, 65536)
        except OSError:  # Linux says so at the end.
            break
    os.close(ours)
    return process.wait(timeout=60), written.decode()
