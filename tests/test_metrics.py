"""Metrics of a run: rows of metrics.csv, printed lines, TensorBoard, warnings."""

import io
import logging
import sys
import types

import command_lines
import numpy as np
import pytest
import tensorflow as tf
from absl import logging as absl_logging
from command_folder import SMALL as SMALL_LINE
from small_runs import SMALL, arrays, rows, run
from tensorboard.backend.event_processing import event_accumulator

import data
from pixel_cnn_pp import checkpoint, prng
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.prng import COMPLETIONS
from pixel_cnn_pp.training import metrics
from pixel_cnn_pp.training import run as training
from pixel_cnn_pp.training.state import seed_for

# 40 images in batches of 4: an epoch is 10 steps.
SETTINGS = {
    "max_steps": 11,
    "save_interval": 1,
    "num_samples": 2,
    "field": "11x5",
    "num_labels": 3,
    "class_conditional": True,
}


@pytest.fixture(scope="module")
def whole(npz_path, tmp_path_factory):
    """Folder and state of a run."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(npz_path, folder, **SETTINGS)


@pytest.fixture(scope="module")
def events(whole):
    (path,) = (whole[0] / "logs").iterdir()
    sizes = {event_accumulator.TENSORS: 0}
    found = event_accumulator.EventAccumulator(str(path), size_guidance=sizes)
    found.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in tensors]
        for tag in found.Tags()["tensors"]
        for tensors in [found.Tensors(tag)]
    }


def pictures(events, tag):
    """Step → uint8 [H, W, C]; an event holds width, height and PNGs."""
    return {step: tf.io.decode_png(value[2]).numpy() for step, value in events[tag]}


@pytest.mark.slow
def test_tensorboard_has_the_scalars_of_the_rows(whole, events):
    for column in list(rows(whole[0])[0])[2:]:
        expected = [
            (int(row["step"]), pytest.approx(float(row[column]), rel=1e-6))
            for row in rows(whole[0])
            if row[column]
        ]
        assert expected
        assert [(step, float(value)) for step, value in events[column]] == expected


def test_tensorboard_has_the_settings_as_a_table(whole, events):
    ((step, text),) = events["config"]
    lines = text.item().decode().splitlines()
    assert step == 0 and lines[:2] == ["| setting | value |", "| --- | --- |"]
    config = Config.load(str(whole[0] / "config.json"))
    values = config.settings()
    assert lines[2:] == [f"| {name} | {value} |" for name, value in values.items()]


def test_tensorboard_has_the_grids_of_the_samples(whole, events):
    found = pictures(events, "samples")
    assert list(found) == [10, 11]
    for step, grid in found.items():
        png = (whole[0] / "samples" / f"step-{step:07}.png").read_bytes()
        # The PNG shows a pixel of 8×8 images as 16×16.
        np.testing.assert_array_equal(
            image_ops.enlarge(grid, 16), tf.io.decode_png(png)
        )


def test_tensorboard_has_completions_that_follow_from_the_seed_and_the_step(
    whole, events, npz_path
):
    # 8 samples a time, so 4 images are completed twice.
    with np.load(npz_path) as file:
        originals, labels = file["test_images"][:4], file["test_labels"][:4]
    found = pictures(events, "completions")
    assert list(found) == [10, 11]
    model, config = checkpoint.load_model(str(whole[0]))
    seed = seed_for(config, COMPLETIONS)
    completed = model.complete(
        np.repeat(originals, 2, axis=0),
        4,
        np.repeat(labels, 2),
        prng.fold_in(seed, 11).numpy(),
    )
    kept = originals.copy()
    kept[:, 4:] = 128
    completed = completed.numpy().reshape(4, 2, 8, 8, 3)
    expected = np.concatenate([originals[:, None], kept[:, None], completed], axis=1)
    expected = image_ops.tile(expected.reshape(16, 8, 8, 3), 4)
    np.testing.assert_array_equal(found[11], expected)


@pytest.mark.slow
def test_without_tensorboard_a_run_warns_once_and_equals_the_run_with_it(
    whole, npz_path, tmp_path, monkeypatch, caplog, capsys
):
    folder, state_of_whole = whole
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with caplog.at_level(logging.WARNING):
        state = run(npz_path, tmp_path, **SETTINGS)
    said = [r.getMessage() for r in caplog.records if "tensorboard" in r.getMessage()]
    assert said == [
        "no TensorBoard events are written: tensorboard is not installed; "
        "`pip install tensorboard` adds it."
    ]
    assert not (tmp_path / "logs").exists()
    for group, variables in state_of_whole.groups().items():
        for name, value in arrays(variables).items():
            np.testing.assert_array_equal(value, state.groups()[group][name], name)
    without_speed = [list(row.values())[:5] for row in rows(folder)]
    assert [list(row.values())[:5] for row in rows(tmp_path)] == without_speed
    for path in (folder / "samples").iterdir():
        if path.suffix == ".png":
            assert (tmp_path / "samples" / path.name).read_bytes() == path.read_bytes()
    assert printed_steps(capsys) == ["3/11", "6/11", "9/11", "10/11", "11/11"]


def printed_steps(capsys):
    lines = capsys.readouterr().out.splitlines()
    return [line.split()[1] for line in lines if line.startswith("step ")]


@pytest.mark.parametrize(
    "bar, on_terminal, verbosity, steps",
    [
        (True, True, -1, ["2/9"]),
        (True, True, 0, ["1/9", "2/9"]),
        (True, False, -1, ["1/9", "2/9"]),
        (False, True, -1, ["1/9", "2/9"]),
    ],
    ids=["terminal", "verbose", "stdout in a file", "stderr in a file"],
)
def test_row_without_a_test_result_is_printed_where_no_bar_shows_it(
    bar, on_terminal, verbosity, steps, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: bar)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_terminal)
    monkeypatch.setattr(absl_logging, "level_info", lambda: verbosity >= 0)
    config = Config.of(**SMALL, images_per_step=4)
    state = types.SimpleNamespace(count=lambda name: 0)
    with metrics.RunLog(str(tmp_path), config, state, 9) as log:
        for test_loss in (None, 2.0):
            log.step_done()
            log.row(3.0, test_loss, 0.1, None)
    assert printed_steps(capsys) == steps


def test_lines_are_said_though_stdout_lacks_letters_or_readers(monkeypatch):
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    metrics.say("8×8 \udcff")
    assert ascii_only.buffer.getvalue() == b"8\\xd78 \\udcff\n"

    def fail(*_):
        raise BrokenPipeError

    monkeypatch.setattr(ascii_only, "write", fail)
    metrics.say("nobody reads this")
    metrics.say("nor this")
    assert sys.stdout is None


@pytest.mark.slow
def test_nothing_of_a_step_is_read_between_the_rows(npz_path, tmp_path):
    # Reading waits for the device. Bad steps are looked at with the rows here.
    settings = {"log_interval": 4, "max_bad_steps": 4, "max_steps": 9, "field": "11x5"}
    config = Config.of(**(SMALL | settings))
    splits = [data.load("npz", npz_path, split) for split in ("train", "test")]
    loop = training.prepare(config, *splits, str(tmp_path))
    step, done, read_at = loop.train_step, [0], set()

    class StepThatCounts:
        bad_report = step.bad_report

        def __call__(self, batch, stop):
            done[0] += 1
            return step(batch, stop)

    def recorded(read):
        def read_and_record():
            read_at.add(done[0])
            return read()

        return read_and_record

    loop.train_step = StepThatCounts()
    for counter in [*loop.state.counters.values(), step.num_bad]:
        counter.numpy = recorded(counter.numpy)
    loop.run()
    assert read_at == {0, 4, 8, 9}


@pytest.mark.slow
def test_skipped_steps_are_warned_of_in_lines_of_stderr_before_the_error(
    command_folder,
):
    # The first step is finite and moves the parameters out of all bounds.
    line = f"{SMALL_LINE} --field=11x5 -l 1e38 -ns 0 -o diverged"
    line += " --log_interval=1 --max_bad_steps=3"
    done = command_lines.run("train.py", line, command_folder)
    assert done.returncode == 1
    *warnings, error = done.stderr.splitlines()
    begins = [
        f"warning: skipped steps: 1; the last, step {step}, had loss "
        for step in (2, 3, 4)
    ]
    for written, begin in zip(warnings, begins, strict=True):
        assert written.startswith(begin)
    assert error.startswith("error: --max_bad_steps=3:")
    steps = rows(command_folder / "diverged", "step")
    assert steps[:2] == ["1", "2"]
