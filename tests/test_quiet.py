"""TensorFlow's start leaves nothing on stderr that says nothing; errors stay."""

import os
import subprocess
import sys

from conftest import ROOT

NOTES = (
    "WARNING: All log messages before absl::InitializeLog() is called are written",
    "I0000 00:00:1.2 3 port.cc:153] oneDNN custom operations are on.",
    "E0000 00:00:1.2 3 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA "
    "error: Failed call to cuInit: UNKNOWN ERROR (303)",
)
ERRORS = (
    "E0000 00:00:1.2 3 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA "
    "error: Failed call to cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
    "W0000 00:00:1.2 3 some.cc:1] a warning",
    "F0000 00:00:1.2 3 cpu_feature_guard.cc:1] instructions that are not there",
)


def python(code, *arguments, **changes):
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env | changes, capture_output=True, text=True, timeout=60
    )


def test_errors_and_the_last_words_of_a_process_that_aborts_are_written():
    code = """
import os, sys, quiet
with quiet._without_notes():
    for line in sys.argv[1:]:
        os.write(2, line.encode() + b"\\n")
    os.abort()
"""
    done = python(code, *NOTES, *ERRORS)
    assert done.returncode < 0
    assert done.stderr.splitlines() == list(ERRORS)


def test_what_is_written_after_the_start_is_written_whatever_it_is():
    code = """
import os, sys, quiet
with quiet._without_notes():
    print("while", file=sys.stderr)
print("after", file=sys.stderr)
os.write(2, sys.argv[1].encode())
"""
    done = python(code, NOTES[0])
    assert (done.returncode, done.stderr) == (0, "while\nafter\n" + NOTES[0])


def test_level_that_the_user_sets_is_kept_and_ours_is_not_handed_on():
    code = """
import os, quiet
quiet.import_tensorflow()
import tensorflow
print(os.environ.get("TF_CPP_MIN_LOG_LEVEL"))
"""
    loud, quiet = python(code, TF_CPP_MIN_LOG_LEVEL="0"), python(code)
    assert loud.stdout == "0\n" and "I0000" in loud.stderr
    assert (quiet.stdout, quiet.stderr) == ("None\n", "")
