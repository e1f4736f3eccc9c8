"""The commands of the README and docs/ are ones that the entry points take."""

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = "".join([README, *(p.read_text() for p in (ROOT / "docs").glob("*.md"))])
BLOCKS = re.findall(r"^    (python \S+\.py .*)$", PAGES, re.MULTILINE)
INLINE = re.findall(r"`(python \S+\.py[^`]*)`", PAGES)
NOT_RUN = {"setup.py", "model_flags.py", "image_flags.py"}
# Parses the flags of a script as absl does, and runs nothing.
PARSE = """
import importlib.util, sys
from absl import flags
spec = importlib.util.spec_from_file_location("script", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
for line in sys.stdin.read().splitlines():
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    rest = flags.FLAGS([sys.argv[1], *line.split()])
    assert len(rest) == 1, line
"""


def test_pages_name_every_entry_point():
    scripts = {shlex.split(command)[1] for command in BLOCKS + INLINE}
    tops = {path.name for path in ROOT.glob("*.py")} - NOT_RUN
    benchmarks = {f"benchmarks/{p.name}" for p in (ROOT / "benchmarks").glob("*.py")}
    assert tops | benchmarks <= scripts


@pytest.mark.parametrize(
    "script", sorted({shlex.split(command)[1] for command in BLOCKS + INLINE})
)
def test_commands_of_the_pages_parse(script):
    lines = [shlex.split(c)[2:] for c in BLOCKS + INLINE if shlex.split(c)[1] == script]
    text = "\n".join(
        " ".join(line)
        for line in lines
        if "--help" not in line and "--output" not in line
    )
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / script)],
        input=text,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_quickstart_stands_in_readme_as_the_makefile_runs_it():
    makefile = (ROOT / "Makefile").read_text()
    for script in ("train", "evaluate"):
        (line,) = re.findall(rf"\$\(VENV\)/bin/python {script}\.py (.*)", makefile)
        assert (
            f"python {script}.py {line.replace('$(RUN)', 'runs/quickstart')}" in README
        )
