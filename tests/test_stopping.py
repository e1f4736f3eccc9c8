"""Runs that end early, by a signal or by losses that are not finite, lose nothing."""

import signal

import command_lines
import numpy as np
import pytest
from command_folder import FIELD, SMALL
from small_runs import arrays, rows, run

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.evaluation import evaluator, samples
from pixel_cnn_pp.training import loop, metrics, preemption

pytestmark = pytest.mark.slow

# 40 images in batches of 4: an epoch is 10 steps, and each ends with a checkpoint.
SETTINGS = {
    "max_steps": 13,
    "save_interval": 1,
    "save_steps": 13,
    "field": "11x5",
    "jit_compile": False,
}


@pytest.fixture(scope="module")
def uninterrupted(npz_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(npz_path, folder, **SETTINGS, num_samples=1)


def raising(function, calls, signum):
    """The function, which raises a signal in its own process after so many calls."""
    left = [calls]

    def raise_and_call(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signum)
        return function(*args, **kwargs)

    return raise_and_call


def results(folder):
    """Rows of a run but for their speeds, and its samples."""
    samples = {
        path.name: np.load(path)["images"].tobytes()
        for path in (folder / "samples").glob("*.npz")
    }
    return [tuple(row.values())[:5] for row in rows(folder)], samples


@pytest.mark.parametrize(
    "owner, name, calls, signum, step, num_samples",
    [
        (metrics.RunLog, "step_done", 5, signal.SIGTERM, 5, 0),
        (evaluator.Evaluator, "_losses", 1, signal.SIGINT, 10, 0),
        (samples, "save_samples", 1, signal.SIGTERM, 10, 1),
        (metrics.RunLog, "step_done", 13, signal.SIGTERM, 13, 0),
        (loop.Loop, "_held_out_loss", 2, signal.SIGINT, 13, 0),
        (samples, "save_samples", 2, signal.SIGTERM, 13, 1),
    ],
    ids=[
        "in a step",
        "in an evaluation",
        "in sampling",
        "in the last step",
        "in the last evaluation",
        "in the last sampling",
    ],
)
def test_run_stopped_by_a_signal_resumes_to_the_uninterrupted_run(
    owner,
    name,
    calls,
    signum,
    step,
    num_samples,
    uninterrupted,
    npz_path,
    tmp_path,
    monkeypatch,
):
    whole_folder, whole = uninterrupted
    settings = SETTINGS | {"num_samples": num_samples}
    before = signal.getsignal(signum)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, raising(getattr(owner, name), calls, signum))
        by = "" if signum == signal.SIGINT else " by SIGTERM"
        message = f"interrupted{by} at step {step}; resume with python train.py "
        message += f"--resume --save_dir={tmp_path}$"
        with pytest.raises(preemption.Stopped, match=message):
            run(npz_path, tmp_path, **settings)
    assert signal.getsignal(signum) == before
    assert checkpoint.list_checkpoints(tmp_path)[0][0] == step
    parts = run(npz_path, tmp_path, True, **settings)
    for group, variables in whole.groups().items():
        for key, value in arrays(variables).items():
            np.testing.assert_array_equal(value, parts.groups()[group][key], key)
    ours, theirs = results(tmp_path), results(whole_folder)
    assert ours == (theirs if num_samples else (theirs[0], {}))


def test_ctrl_c_ends_train_py_in_one_line_that_is_no_error(command_folder, monkeypatch):
    interrupted = raising(metrics.RunLog.step_done, 2, signal.SIGINT)
    monkeypatch.setattr(metrics.RunLog, "step_done", interrupted)
    done = command_lines.run("train.py", f"{SMALL} {FIELD} -o stopped", command_folder)
    assert (done.returncode, done.stderr) == (
        130,
        "interrupted at step 2; resume with python train.py --resume "
        "--save_dir=stopped\n",
    )
    monkeypatch.undo()
    line = "--resume --save_dir=stopped --max_steps=3 -ns 0"
    done = command_lines.run("train.py", line, command_folder)
    assert (done.returncode, done.stderr) == (0, "")
    changes = "max_steps=3 (was None), num_samples=0 (was 1)"
    assert f"resuming from step 2 with {changes}\n" in done.stdout


def test_ctrl_c_ends_evaluate_py_in_one_word(command_folder, monkeypatch):
    point = command_lines.entry_point("evaluate.py")

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(point.module.cli, "check_model_flags", interrupt)
    done = point.run("-o run", command_folder)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_exit_codes_are_those_that_a_shell_gives_to_signals():
    assert preemption.Stopped(signal.SIGTERM).exit_code == 143
    assert preemption.Stopped(signal.SIGINT).exit_code == 130


def test_steps_that_are_not_finite_change_nothing_are_reported_and_end_the_run(
    npz_path, tmp_path, capfd
):
    small = {"field": "11x5", "jit_compile": False}
    run(npz_path, tmp_path, max_steps=4, **small)
    kept = checkpoint.list_checkpoints(tmp_path)
    # The fifth step is finite and moves the parameters out of all bounds.
    too_fast = {"learning_rate": 1e38, "max_bad_steps": 2, "max_steps": 99}
    too_fast["save_steps"] = 1
    # The count is looked at every second step.
    message = "--max_bad_steps=2: .* of the last 3 steps, up to step 8, were not finite"
    with pytest.raises(preemption.Diverged, match=message):
        run(npz_path, tmp_path, True, **small, **too_fast)
    reports = [
        line for line in capfd.readouterr().err.splitlines() if "skipped" in line
    ]
    assert len(reports) == 2
    assert "warning: skipped steps: 1; the last, step 6, had loss " in reports[0]
    assert "skipped steps: 2; the last, step 8, had loss " in reports[1]
    assert "mean pixel value 12" in reports[1]
    # Nothing was saved since, so that the good one is still there.
    assert checkpoint.list_checkpoints(tmp_path)[1:] == kept
    (tmp_path / checkpoint.FOLDER / "ckpt-5.index").unlink()
    resumed = run(npz_path, tmp_path, True, max_steps=6, **small)
    assert resumed.count("bad_steps") == 0 and resumed.count("step") == 6
