"""What a run tells while it runs: the progress line, the printed rows, TensorBoard."""

import csv
import dataclasses
import logging
import os
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from small_runs import SMALL, arrays, rows, run
from tensorboard.backend.event_processing import event_accumulator
from terminal import Terminal, run_on_terminal, screen, shown_in_turn

import data
from pixel_cnn_pp import checkpoint, prng, progress
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training import run as training
from pixel_cnn_pp.training.state import COMPLETIONS, seed_for

# 40 images in batches of 4: an epoch is 10 steps.
SETTINGS = {
    "max_steps": 11,
    "save_interval": 1,
    "num_samples": 2,
    "field": "11x5",
    "num_labels": 3,
    "class_conditional": True,
}


def open_terminal(monkeypatch, columns=120):
    """Sets sys.stdout; in a fixture pytest would set it back before the test."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    return sys.stdout


def test_progress_line_is_rewritten_cut_to_the_width_and_gone_in_the_end(monkeypatch):
    terminal = open_terminal(monkeypatch, columns=40)
    with progress.ProgressLine() as line:
        line.show("a long line " * 9)
        assert screen(terminal.getvalue()) == [("a long line " * 9)[:39]]
        line.show("short")
        assert screen(terminal.getvalue()) == ["short"]
        line.keep("a line that stays")
        line.show("next")
        assert screen(terminal.getvalue()) == ["a line that stays", "next"]
    assert screen(terminal.getvalue()) == ["a line that stays", ""]


def test_what_is_logged_takes_the_place_of_the_progress_line(monkeypatch):
    terminal = open_terminal(monkeypatch)
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    with progress.ProgressLine() as line:
        line.show("step 1")
        logging.warning("look")
        line.show("step 2")
    assert screen(terminal.getvalue()) == ["look", ""]
    assert not handler.filters


def test_without_a_terminal_only_lines_that_stay_are_printed(capsys):
    with progress.ProgressLine() as line:
        line.show("step 1")
        line.keep("a line that stays")
        line.show("step 2")
    assert capsys.readouterr().out == "a line that stays\n"


@pytest.fixture(scope="module")
def told(npz_path, tmp_path_factory):
    """Folder of a run on a terminal, its state, what it wrote to the terminal."""
    folder = tmp_path_factory.mktemp("told")
    with pytest.MonkeyPatch.context() as patch:
        terminal = open_terminal(patch)
        state = run(npz_path, folder, **SETTINGS)
        return folder, state, terminal.getvalue()


def test_terminal_keeps_the_rows_with_a_test_figure_and_shows_all_in_turn(told):
    folder, _, written = told
    *kept, last = screen(written)
    assert last == ""
    assert [line.split("  ")[:2] for line in kept] == [
        ["step 10/11", "epoch 0"],
        ["step 11/11", "epoch 1"],
    ]
    shown = shown_in_turn(written)
    for row in rows(folder):
        begin = f"step {row['step']}/11  epoch {row['epoch']}  "
        figure = f"train {float(row['train_bits_per_dim']):.4f} bits/dim"
        assert any(line.startswith(begin) and figure in line for line in shown), row
    for what in ("building the graph", "testing", "drawing 0/8", "drawing 8/8"):
        assert any(line.endswith(f"  {what}") for line in shown), what


def test_time_left_is_that_of_the_images_left_at_the_speed_of_the_row(told):
    folder, _, written = told
    (row,) = (row for row in rows(folder) if row["step"] == "3")
    speed = float(row["images_per_sec"])
    left = round((11 - 3) * 4 / speed)
    line = f"{speed:.1f} images/s  0:00:{left:02} left"
    assert any(line in shown for shown in shown_in_turn(written))


@pytest.fixture(scope="module")
def events(told):
    (path,) = (told[0] / "logs").iterdir()
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


def test_tensorboard_has_the_scalars_of_the_rows(told, events):
    for column in list(rows(told[0])[0])[2:]:
        expected = [
            (int(row["step"]), pytest.approx(float(row[column]), rel=1e-6))
            for row in rows(told[0])
            if row[column]
        ]
        assert expected
        assert [(step, float(value)) for step, value in events[column]] == expected


def test_tensorboard_has_the_settings_as_a_table(told, events):
    ((step, text),) = events["config"]
    lines = text.item().decode().splitlines()
    assert step == 0 and lines[:2] == ["| setting | value |", "| --- | --- |"]
    config = Config.load(str(told[0] / "config.json"))
    values = dataclasses.asdict(config)
    assert lines[2:] == [f"| {name} | {value} |" for name, value in values.items()]


def test_tensorboard_has_the_sheets_of_the_samples(told, events):
    found = pictures(events, "samples")
    assert list(found) == [10, 11]
    for step, sheet in found.items():
        path = told[0] / "samples" / f"step-{step:07}.png"
        np.testing.assert_array_equal(sheet, tf.io.decode_png(path.read_bytes()))


def test_tensorboard_has_completions_that_follow_from_the_seed_and_the_step(
    told, events, npz_path
):
    # 8 samples a time, so 4 images are completed twice.
    with np.load(npz_path) as file:
        originals, labels = file["test_images"][:4], file["test_labels"][:4]
    found = pictures(events, "completions")
    assert list(found) == [10, 11]
    model, config = checkpoint.load_model(str(told[0]))
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


def test_without_tensorboard_a_run_says_so_once_and_comes_to_the_same(
    told, npz_path, tmp_path, monkeypatch, caplog, capsys
):
    folder, whole, _ = told
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with caplog.at_level(logging.WARNING):
        state = run(npz_path, tmp_path, **SETTINGS)
    said = [r.getMessage() for r in caplog.records if "tensorboard" in r.getMessage()]
    assert said == [
        "no TensorBoard events are written: tensorboard is not installed; "
        "`pip install tensorboard` adds it."
    ]
    assert not (tmp_path / "logs").exists()
    for group, variables in whole.groups().items():
        for name, value in arrays(variables).items():
            np.testing.assert_array_equal(value, state.groups()[group][name], name)
    without_speed = [list(row.values())[:5] for row in rows(folder)]
    assert [list(row.values())[:5] for row in rows(tmp_path)] == without_speed
    for path in (folder / "samples").iterdir():
        if path.suffix == ".png":
            assert (tmp_path / "samples" / path.name).read_bytes() == path.read_bytes()
    # No terminal here.
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["10/11", "11/11"]


def test_nothing_of_a_step_is_read_between_the_rows(npz_path, tmp_path, monkeypatch):
    # Reading waits for the device. Bad steps are looked at with the rows here.
    settings = {"log_interval": 4, "max_bad_steps": 4, "max_steps": 9, "field": "11x5"}
    config = Config.of(**(SMALL | settings))
    splits = [data.load("npz", npz_path, split) for split in ("train", "test")]
    loop = training.prepare(config, *splits, str(tmp_path))
    open_terminal(monkeypatch)
    step, done, read_at = loop.train_step, [0], set()

    def train_step_that_tells_nothing(batch):
        step(batch)
        done[0] += 1

    def recorded(read):
        def read_and_record():
            read_at.add(done[0])
            return read()

        return read_and_record

    loop.train_step = train_step_that_tells_nothing
    for counter in loop.state.counters.values():
        counter.numpy = recorded(counter.numpy)
    loop.run()
    assert read_at == {0, 4, 8, 9}


def test_warnings_and_errors_of_a_run_come_on_lines_of_their_own(npz_path, tmp_path):
    # The first step is finite and moves the parameters out of all bounds.
    line = f"-d npz -i {npz_path} -n 4 -m 2 -b 4 -u 8 --field=11x5 -l 1e30 -ns 0"
    line += f" --log_interval=1 --max_bad_steps=3 -o {tmp_path / 'run'}"
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, ROOT / "train.py", *line.split()]
    code, written = run_on_terminal(command, env | {"COLUMNS": "80"})
    assert code == 1
    *warnings, error, last = screen(written)
    begins = [f"warning: step {step} is left out, {step - 1} in" for step in (2, 3, 4)]
    for shown, begin in zip(warnings, begins, strict=True):
        assert shown.startswith(begin) and " left  " not in shown
    assert error.startswith("error: --max_bad_steps=3:") and last == ""
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        told = [row["step"] for row in csv.DictReader(file)]
    assert told[:2] == ["1", "2"]
    lines = [shown for shown in shown_in_turn(written) if shown.startswith("step ")]
    assert any(shown.startswith("step 1/") for shown in lines)
    assert max(map(len, lines)) < 80
