"""Each entry point as a process of its own, as a user runs it."""

import csv

import pytest
from command_folder import FIELD, RUN, SMALL
from command_lines import own_lines, run

pytestmark = pytest.mark.slow


# A run of train.py in the folder `process`; the others on it.
LINES = {
    "train.py": f"{SMALL} {FIELD} -o process -ns 0 --max_steps=3 --log_interval=1",
    "evaluate.py": "-o process",
    "sample.py": "-o process -ns 2 --nojit_compile",
    "export.py": "-o process --export_dir=process_served",
    "plot.py": "-o process",
}


@pytest.fixture(scope="module")
def processes(run_command, command_folder):
    return {
        script: run_command(script, *line.split(), cwd=command_folder)
        for script, line in LINES.items()
    }


def test_each_ends_with_0_and_writes_nothing_to_stderr(processes):
    ends = {s: (p.returncode, own_lines(p.stderr)) for s, p in processes.items()}
    assert ends == dict.fromkeys(processes, (0, []))


def test_train_writes_its_metrics_and_prints_them(processes, command_folder):
    with open(command_folder / "process" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "3"]
    lines = processes["train.py"].stdout.splitlines()
    *_, line = [line for line in lines if line.startswith("step ")]
    assert f"test {float(rows[-1]['test_bits_per_dim']):.4f} bits/dim" in line


@pytest.mark.parametrize("script", ["evaluate.py", "sample.py", "plot.py"])
def test_prints_what_it_prints_in_the_process_of_the_tests(
    processes, command_folder, script
):
    beside = run(script, LINES[script], command_folder)
    assert processes[script].stdout == beside.stdout != ""


def test_export_writes_a_saved_model(processes, command_folder):
    assert processes["export.py"].stdout == "SavedModel: process_served\n"
    assert (command_folder / "process_served" / "saved_model.pb").is_file()


@pytest.mark.parametrize(
    "script, arguments", [("train.py", f"{RUN} -d mnist"), ("evaluate.py", "-o gone")]
)
def test_bad_value_ends_as_in_the_process_of_the_tests(
    run_command, command_folder, script, arguments
):
    done = run_command(script, *arguments.split(), cwd=command_folder)
    beside = run(script, arguments, command_folder)
    assert done.returncode == beside.returncode == 1
    assert own_lines(done.stderr) == beside.stderr.splitlines()
    assert (done.stdout, beside.stdout) == ("", "")
    assert not (command_folder / "save").exists()
