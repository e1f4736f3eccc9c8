"""Each entry point as a process of its own, as a user runs it.

With TensorFlow's defaults: XLA optimizes and Grappler rewrites, which the other tests
do without. The golden tests, too.
"""

import csv
import json

import numpy as np
import pytest
from command_folder import FIELD, RUN, SMALL
from command_lines import own_lines, run
from conftest import ROOT

from pixel_cnn_pp import checkpoint

pytestmark = pytest.mark.slow


TRAIN = f"{SMALL} {FIELD} -p 0 -ns 0 --max_steps=3 --log_interval=1"
# A run of train.py in the folder `process`; the others on it.
LINES = {
    "train.py": f"{TRAIN} -o process",
    "evaluate.py": "-o process -ns 6 -s 2 --output_dir=process --output_json=a.json",
    "sample.py": "-o process -ns 2 --nojit_compile",
    "export.py": "-o process --export_dir=process_served",
    "plot.py": "-o process",
}


def test_golden_tests_pass_with_the_defaults(run_command, tmp_path):
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "--noconftest"]
    folder = f"--basetemp={tmp_path / 'golden'}"
    path = ROOT / "tests" / "test_golden.py"
    done = run_command("-m", "pytest", *options, folder, path, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = done.stdout.split()[0]
    assert set(passed) == {"."} and len(passed) > 10  # None is skipped.


@pytest.fixture(scope="module")
def processes(run_command, command_folder):
    return {
        script: run_command(ROOT / script, *line.split(), cwd=command_folder)
        for script, line in LINES.items()
    }


def test_each_ends_with_0_and_writes_nothing_to_stderr(processes):
    ends = {s: (p.returncode, own_lines(p.stderr)) for s, p in processes.items()}
    assert ends == dict.fromkeys(processes, (0, []))


def test_train_comes_to_the_losses_of_the_tests_process_and_prints_them(
    processes, command_folder
):
    done = run("train.py", f"{TRAIN} -o beside", command_folder)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    ours, theirs = (
        list(csv.DictReader((command_folder / name / "metrics.csv").open(newline="")))
        for name in ("process", "beside")
    )
    assert [row["step"] for row in ours] == ["1", "2", "3", "3"]
    for a, b in zip(ours, theirs, strict=True):
        for column in ("train_bits_per_dim", "test_bits_per_dim"):
            found, expected = float(a[column] or 0), float(b[column] or 0)
            assert found == pytest.approx(expected, rel=1e-4), (a["step"], column)
    lines = processes["train.py"].stdout.splitlines()
    *_, line = [line for line in lines if line.startswith("step ")]
    assert f"test {float(ours[-1]['test_bits_per_dim']):.4f} bits/dim" in line


def test_evaluate_gives_the_scores_and_samples_of_the_tests_process(
    processes, command_folder
):
    model, _ = checkpoint.load_model(str(command_folder / "process"))
    with np.load(command_folder / "labelled.npz") as file:
        images = file["test_images"]
    bits = -model.log_prob(images).numpy() / (np.log(2) * 8 * 8 * 3)
    scores = json.loads((command_folder / "a.json").read_text())
    np.testing.assert_allclose(scores["bits_per_dim_per_image"], bits, rtol=1e-5)
    line = f"test bits_per_dim = {scores['bits_per_dim']:.4f} (11 images)\n"
    assert line in processes["evaluate.py"].stdout
    with np.load(command_folder / "process" / "samples.npz") as file:
        samples = file["images"]
    ours = model.sample(6, seed=(2, 0)).numpy()
    # A rounding error may move a sub-pixel, and those after it, to another value.
    assert np.mean(samples == ours) > 0.9


@pytest.mark.parametrize("script", ["sample.py", "plot.py"])
def test_prints_what_it_prints_in_the_process_of_the_tests(
    processes, command_folder, script
):
    beside = run(script, LINES[script], command_folder)
    assert processes[script].stdout == beside.stdout != ""


def test_export_writes_a_saved_model(processes, command_folder):
    assert processes["export.py"].stdout == "SavedModel: process_served\n"
    assert (command_folder / "process_served" / "saved_model.pb").is_file()


def test_bad_value_ends_as_in_the_process_of_the_tests(run_command, command_folder):
    line = f"{RUN} -d mnist"
    done = run_command(ROOT / "train.py", *line.split(), cwd=command_folder)
    beside = run("train.py", line, command_folder)
    assert done.returncode == beside.returncode == 1
    assert own_lines(done.stderr) == beside.stderr.splitlines()
    assert (done.stdout, beside.stdout) == ("", "")
    assert not (command_folder / "save").exists()
