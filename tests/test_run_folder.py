"""The folder of a run: locked, and resumed only with what belongs to it."""

import os
import shutil
import signal
import time

import numpy as np
import pytest
import small_runs
import tensorflow as tf
from child_processes import Child
from golden import Golden

import data
from pixel_cnn_pp import checkpoint, export, files
from pixel_cnn_pp.training.metrics import RunLog
from pixel_cnn_pp.training.preemption import ReadFailed, Stopped, StopSignals
from pixel_cnn_pp.training.run import prepare
from pixel_cnn_pp.training.step import TrainStep

pytestmark = pytest.mark.slow

TINY = {"field": "11x5", "nr_filters": 2, "nr_logistic_mix": 1, "max_steps": 4}


@pytest.fixture(scope="module")
def run(npz_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder") / "run"
    small_runs.run(npz_path, folder, **TINY)
    return folder


def copy_of(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def resume(npz_path, folder, **changes):
    return small_runs.run(npz_path, folder, True, **(TINY | {"max_steps": 5} | changes))


def test_folder_with_any_name_is_trained_in_resumed_and_read(npz_path, tmp_path):
    # Of a pattern, with a backslash, and not of UTF-8.
    folder = tmp_path / "lr[0.001] a*b? back\\slash \udcff" / "run"
    folder.parent.mkdir()
    small_runs.run(npz_path, folder, **TINY)
    state = resume(npz_path, folder)
    assert state.count("step") == 5
    model, _ = checkpoint.load_model(str(folder))
    for parameter, average in zip(
        model.parameters.values(), state.ema_parameters.values(), strict=True
    ):
        np.testing.assert_array_equal(parameter, average)


def test_export_to_a_folder_that_tensorflow_cannot_load_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"m\[1\]: TensorFlow takes"):
        export.check_export_dir(str(tmp_path / "m[1]"))


def test_export_to_a_name_that_is_not_utf_8_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="in UTF-8 alone; give such a path"):
        export.check_export_dir(f"{tmp_path}/m\udcff")


@pytest.mark.parametrize("path", ["", "gs://bucket/run", "S3://b", "file:///x"])
def test_empty_paths_and_addresses_are_rejected(path):
    with pytest.raises(ValueError, match=f"--save_dir={path}: is "):
        files.check_folder_writable("save_dir", path)


def test_second_process_on_a_folder_names_the_first_ones_number(tmp_path):
    hold = (
        "import sys, time; from pixel_cnn_pp.files import FolderLock;"
        "lock = FolderLock(sys.argv[1]); lock.acquire(); print('held', flush=True);"
        "time.sleep(60)"
    )
    process = Child("-c", hold, tmp_path)
    process.wait_for("held", "stdout")
    lock = files.FolderLock(str(tmp_path))
    with pytest.raises(files.Locked, match=f"process {process.pid} writes to it"):
        lock.acquire()
    process.kill()
    process.wait(60)
    lock.acquire()  # The lock ended with its process.
    lock.release()


def test_resume_waits_for_no_lock_of_its_own(run, npz_path, tmp_path):
    folder = copy_of(run, tmp_path)
    for _ in range(2):
        assert resume(npz_path, folder, max_steps=4).count("step") == 4


def test_other_images_of_the_same_number_and_shape_are_rejected(
    run, npz_path, tmp_path
):
    with np.load(npz_path) as file:
        arrays = dict(file)
    arrays["train_images"] = arrays["train_images"] ^ 1
    np.savez(tmp_path / "other.npz", **arrays)
    folder = copy_of(run, tmp_path)
    with pytest.raises(ValueError, match="--data_dir: the images are not those"):
        resume(str(tmp_path / "other.npz"), folder)


def test_other_class_names_are_rejected(npz_path, tmp_path):
    with np.load(npz_path) as file:
        arrays = dict(file)
    paths = []
    for names in (["a", "b", "c"], ["a", "c", "b"]):
        paths.append(str(tmp_path / f"{names[1]}.npz"))
        np.savez(paths[-1], class_names=names, **arrays)
    labelled = {"num_labels": 3, "class_conditional": True}
    small_runs.run(paths[0], tmp_path / "run", **(TINY | labelled))
    assert checkpoint.load_config(str(tmp_path / "run")).class_names == ("a", "b", "c")
    with pytest.raises(ValueError, match="class 1 of the images is 'c', and 'b' in"):
        resume(paths[1], tmp_path / "run", **labelled)


def test_checkpoint_of_another_run_is_rejected(run, npz_path, tmp_path):
    folder = copy_of(run, tmp_path)
    small_runs.run(npz_path, tmp_path / "other", **(TINY | {"learning_rate": 0.01}))
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", folder / "checkpoints")
    with pytest.raises(ValueError, match="is a checkpoint of another run"):
        resume(npz_path, folder)


def test_changed_settings_are_named_when_a_run_resumes(run, npz_path, tmp_path, capsys):
    resume(npz_path, copy_of(run, tmp_path), learning_rate=0.01)
    printed = capsys.readouterr().out
    assert "resuming from step 4 with learning_rate=0.01 (was 0.001)" in printed


def test_run_keeps_the_checkpoint_that_it_began_with(run, npz_path, tmp_path):
    message = (
        "--official_checkpoint=x: the run in this --save_dir has .*None; remove it"
    )
    with pytest.raises(ValueError, match=message):
        resume(npz_path, copy_of(run, tmp_path), official_checkpoint="x")


@pytest.mark.parametrize("name", ["metrics.csv", "lock"])
def test_files_of_others_in_the_folder_are_left_alone(npz_path, tmp_path, name):
    (tmp_path / name).write_text("epoch,loss\n1,2.5\n")
    with pytest.raises((ValueError, OSError), match=f"--save_dir=.*{name}.*another"):
        small_runs.run(npz_path, tmp_path, **TINY)
    assert (tmp_path / name).read_text() == "epoch,loss\n1,2.5\n"


def test_rejected_resume_gives_the_folder_back(run, npz_path, tmp_path):
    folder = copy_of(run, tmp_path)
    with pytest.raises(ValueError, match="--seed=9") as kept:  # As a notebook keeps it.
        resume(npz_path, folder, seed=9)
    assert resume(npz_path, folder).count("step") == 5
    assert kept.tb


def test_lock_that_is_no_text_is_left_alone(tmp_path):
    (tmp_path / "lock").write_bytes(b"\xff\0")
    with pytest.raises(OSError, match="lock is there and no lock of this program"):
        files.FolderLock(str(tmp_path)).acquire()
    assert (tmp_path / "lock").read_bytes() == b"\xff\0"


def test_rows_without_a_checkpoint_are_kept_and_reported(run, npz_path, tmp_path):
    folder = copy_of(run, tmp_path)
    shutil.rmtree(folder / "checkpoints")
    before = (folder / "metrics.csv").read_bytes()
    with pytest.raises(ValueError, match="has rows up to step 4, but there is no ch"):
        resume(npz_path, folder)
    assert (folder / "metrics.csv").read_bytes() == before


def test_run_killed_after_its_first_row_is_resumed(
    run, npz_path, tmp_path, monkeypatch
):
    write, row = checkpoint.write, RunLog.row

    def write_late(*args):
        time.sleep(1)
        return write(*args)

    def write_row_and_die(*args):
        row(*args)
        raise KeyboardInterrupt

    settings, folder = TINY | {"log_interval": 1}, tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", write_late)
        patch.setattr(RunLog, "row", write_row_and_die)
        with pytest.raises(KeyboardInterrupt):
            small_runs.run(npz_path, folder, **settings)
        assert small_runs.rows(folder, "step") == ["1"]
        assert [step for step, _ in checkpoint.list_checkpoints(folder)] == [0]
    state = small_runs.run(npz_path, folder, True, **settings)
    assert small_runs.rows(folder, "step") == ["1", "2", "3", "4", "4"]  # Its end.
    assert [step for step, _ in checkpoint.list_checkpoints(folder)] == [4]
    model, _ = checkpoint.load_model(str(run))
    for average, whole in zip(
        state.ema_parameters.values(), model.parameters.values(), strict=True
    ):
        np.testing.assert_array_equal(average, whole)


def test_run_from_an_official_checkpoint_begins_with_a_checkpoint(
    npz_path, tmp_path, monkeypatch
):
    golden = Golden("unconditional")
    settings = golden.model_arguments() | {"official_checkpoint": golden.checkpoint}
    settings |= {"max_steps": 6, "batch_size": 4, "log_interval": 1, "field": None}
    settings["image_shape"] = (8, 8, 3)

    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainStep, "__call__", die)
    with pytest.raises(KeyboardInterrupt):
        small_runs.run(npz_path, tmp_path / "run", **settings)
    assert [s for s, _ in checkpoint.list_checkpoints(tmp_path / "run")] == [5]


def test_damaged_metrics_are_mended_by_a_resume(run, npz_path, tmp_path):
    damage = b"\xff\xfe\0\0\nx,0,1,,0.1,2\n"
    damage += b"y" * 200_000 + b"\n" + b"9" * 5000 + b",0,1,,0.1,2\n"
    damage += b'3,"'
    folder = copy_of(run, tmp_path)
    whole = (folder / "metrics.csv").read_bytes()
    (folder / "metrics.csv").write_bytes(whole + damage)
    resume(npz_path, folder)
    steps = small_runs.rows(folder, "step")
    assert steps == ["3", "4", "5"]
    assert (folder / "metrics.csv").read_bytes().startswith(whole)


def test_file_that_vanishes_in_a_run_saves_it_and_is_named(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        (tmp_path / "images" / split).mkdir(parents=True)
        for i in range(8):
            image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            path = str(tmp_path / "images" / split / f"{i}.png")
            tf.io.write_file(path, tf.io.encode_png(image))
    splits = [
        data.load("folder", str(tmp_path / "images"), split)
        for split in ("train", "test")
    ]
    config = small_runs.Config.of(
        **(small_runs.SMALL | TINY | {"init_batch_size": 4, "max_steps": 40})
    )
    loop = prepare(config, *splits, str(tmp_path / "run"))
    (tmp_path / "images" / "test" / "5.png").unlink()
    advice = r"before\. Restore it and resume with python train.py --resume --save_dir="
    with pytest.raises(ReadFailed, match=rf"5.png cannot be opened, No such.*{advice}"):
        loop.run()
    ((step, _), *_) = checkpoint.list_checkpoints(str(tmp_path / "run"))
    assert step == 2


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_signals_of_terminals_and_schedulers_stop_a_run(name):
    # SIGHUP: a terminal was closed.
    with StopSignals() as signals, pytest.raises(Stopped, match=name) as stop:
        os.kill(os.getpid(), signal.Signals[name])
    assert signals.received == signal.Signals[name]
    assert stop.value.exit_code == 128 + signal.Signals[name]


def test_repeated_signals_of_a_cpu_time_limit_are_one_signal():
    with StopSignals() as signals:
        signals.may_stop_at_once = False
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGXCPU)
        with pytest.raises(Stopped, match="SIGXCPU"):
            signals.check()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
@pytest.mark.parametrize("length", [1, 100_000])
def test_file_that_does_not_fit_is_named(tmp_path, length):
    path = tmp_path / "scores.csv"
    os.symlink("/dev/full", f"{path}.new")
    with pytest.raises(OSError, match="No space left on device: .*scores.csv.new"):
        with files.open_atomic(path) as file:
            file.write("x" * length)
    assert not path.exists()
