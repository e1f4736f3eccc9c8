"""Runs that end early, by a signal or by losses that are no numbers, lose nothing."""

import signal

import numpy as np
import pytest
from small_runs import arrays, rows, run

from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.evaluation import evaluator
from pixel_cnn_pp.evaluation import samples as drawing
from pixel_cnn_pp.training import loop, metrics, preemption

# 40 images in batches of 4: an epoch is 10 steps, and each ends with a checkpoint.
SETTINGS = {
    "max_steps": 23,
    "save_interval": 1,
    "save_steps": 23,
    "num_samples": 1,
    "field": "11x5",
}


@pytest.fixture(scope="module")
def never_stopped(npz_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(npz_path, folder, **SETTINGS)


def raising(function, calls, signum):
    """The function, which raises a signal in its own process after so many calls."""
    left = [calls]

    def raise_and_call(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signum)
        return function(*args, **kwargs)

    return raise_and_call


def facts(folder):
    """All that a run wrote: its rows but for their speeds, and its samples."""
    samples = {
        path.name: np.load(path)["images"].tobytes()
        for path in (folder / "samples").glob("*.npz")
    }
    return [tuple(row.values())[:5] for row in rows(folder)], samples


@pytest.mark.parametrize(
    "owner, name, calls, signum, step",
    [
        (metrics.RunLog, "step_done", 5, signal.SIGTERM, 5),
        (evaluator.Evaluator, "_losses", 1, signal.SIGINT, 10),
        (drawing, "save_samples", 2, signal.SIGTERM, 20),
        (metrics.RunLog, "step_done", 23, signal.SIGTERM, 23),
        (loop.Loop, "_test_loss", 3, signal.SIGINT, 23),
        (drawing, "save_samples", 3, signal.SIGTERM, 23),
    ],
    ids=[
        "in a step",
        "in an evaluation",
        "while samples are drawn",
        "in the last step",
        "in the last evaluation",
        "while the last samples are drawn",
    ],
)
def test_run_ended_by_a_signal_goes_on_as_the_run_never_ended(
    owner, name, calls, signum, step, never_stopped, npz_path, tmp_path, monkeypatch
):
    whole_folder, whole = never_stopped
    before = signal.getsignal(signum)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, raising(getattr(owner, name), calls, signum))
        with pytest.raises(preemption.Stopped, match=f"{signum.name} at step {step};"):
            run(npz_path, tmp_path, **SETTINGS)
    assert signal.getsignal(signum) == before
    assert checkpoint.list_checkpoints(tmp_path)[0][0] == step
    parts = run(npz_path, tmp_path, True, **SETTINGS)
    for group, variables in whole.groups().items():
        for key, value in arrays(variables).items():
            np.testing.assert_array_equal(value, parts.groups()[group][key], key)
    assert facts(tmp_path) == facts(whole_folder)


def test_exit_codes_are_those_that_a_shell_gives_to_signals():
    assert preemption.Stopped(signal.SIGTERM).exit_code == 143
    assert preemption.Stopped(signal.SIGINT).exit_code == 130


def test_steps_that_are_not_finite_change_nothing_are_reported_and_end_the_run(
    npz_path, tmp_path, capfd
):
    run(npz_path, tmp_path, max_steps=4)
    kept = checkpoint.list_checkpoints(tmp_path)
    # The fifth step is finite and moves the parameters out of all bounds.
    too_fast = {"learning_rate": 1e30, "max_bad_steps": 2, "max_steps": 99}
    too_fast["save_steps"] = 1
    # The count is looked at every second step.
    message = "--max_bad_steps=2: .* of the last 3 steps, up to step 8, were not finite"
    with pytest.raises(preemption.Diverged, match=message):
        run(npz_path, tmp_path, True, **too_fast)
    reports = [
        line for line in capfd.readouterr().err.splitlines() if "left out" in line
    ]
    assert len(reports) == 3
    assert "step 6 is left out, 1 in a row: loss" in reports[0]
    assert "levels of its images from" in reports[1]
    # Nothing was saved since, so that the good one is still there.
    assert checkpoint.list_checkpoints(tmp_path)[1:] == kept
    (tmp_path / checkpoint.FOLDER / "ckpt-5.index").unlink()
    gone_on = run(npz_path, tmp_path, True, max_steps=6)
    assert gone_on.count("bad_steps") == 0 and gone_on.count("step") == 6
