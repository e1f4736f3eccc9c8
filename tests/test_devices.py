"""Scores and samples on several devices and machines; shards that are resumed."""

import csv
import json
import os

import command_lines
import numpy as np
import pytest
import tensorflow as tf
from small_runs import write_untrained
from workers import tf_config

from pixel_cnn_pp import checkpoint, cluster
from pixel_cnn_pp.evaluation import checks, devices, shards
from pixel_cnn_pp.model import PixelCNNPP

pytestmark = pytest.mark.slow

SAMPLE = "-o run -ns 11 --shard_images=3 -s 4 --nojit_compile --output_dir="
SCORE = "-o run -b 2 --output_json=scores.json --scores_csv=scores.csv"


@pytest.fixture(scope="module")
def folder(npz_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    images = {"data_set": "npz", "data_dir": npz_path, "class_conditional": True}
    write_untrained(folder / "run", **images, field="11x5", num_labels=3)
    return folder


def run(script, line, folder):
    done = command_lines.run(script, line, folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def fail(script, line, folder):
    done = command_lines.run(script, line, folder)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def as_worker(monkeypatch):
    """Sets TF_CONFIG to that of one of two workers."""

    def set_config(index, jobs=("a:2222", "b:2222")):
        monkeypatch.setenv("TF_CONFIG", tf_config(jobs, index))

    return set_config


@pytest.fixture(scope="module")
def scored(folder):
    """What one device prints and writes."""
    stdout = run("evaluate.py", SCORE, folder)
    names = ("scores.json", "scores.csv")
    return stdout, [(folder / name).read_bytes() for name in names]


@pytest.fixture(scope="module")
def sampled(folder):
    """The files that one device writes."""
    run("sample.py", f"{SAMPLE}one", folder)
    return samples_of(folder / "one")


def samples_of(folder):
    """The contents of samples.png and of each shard, by name."""
    found = {"samples.png": (folder / "samples.png").read_bytes()}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            found[path.name] = {name: file[name].tolist() for name in file.files}
    return found


def modified(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}


@pytest.mark.parametrize("nr_gpu", [2, 3])
def test_scores_of_several_devices_are_those_of_one_bit_by_bit(folder, scored, nr_gpu):
    stdout = run("evaluate.py", f"{SCORE} --nr_gpu={nr_gpu}", folder)
    names = ("scores.json", "scores.csv")
    assert (stdout, [(folder / name).read_bytes() for name in names]) == scored


def test_devices_take_the_items_in_turn_and_results_are_in_order(folder):
    model, _ = checkpoint.load_model(str(folder / "run"))
    names = [device.name for device in tf.config.list_logical_devices("CPU")][:3]

    def make_function(copy, check):
        where = next(iter(copy.tf_variables().values())).device
        return lambda item: (item, where[-5:], tf.zeros([]).device[-5:])

    found = devices.Machine(names).map(model, make_function, iter(range(7)), 7)
    expected = [(k, f"CPU:{k % 3}", f"CPU:{k % 3}") for k in range(7)]
    assert list(found) == expected


def test_copies_have_what_was_set_of_the_model(folder):
    model, _ = checkpoint.load_model(str(folder / "run"))
    model.round_kernels("bfloat16")
    model.set_jit_compile(False)
    (_, copy) = devices.copies_on(["CPU:0", "CPU:1"], model)
    assert shards.model_id(copy[1]) == shards.model_id(model)
    assert copy[1].samples_with_xla is False and copy[1].fuses is False


def test_error_on_a_device_ends_the_work_of_all(folder):
    model, _ = checkpoint.load_model(str(folder / "run"))

    def make_function(copy, check):
        def work(item):
            if item == 1:
                raise OSError("no space left")
            return item

        return work

    with pytest.raises(OSError, match="no space left"):
        list(devices.Machine(["CPU:0", "CPU:1"]).map(model, make_function, range(9), 9))


def test_more_devices_than_there_are_are_rejected_in_one_line(folder):
    error = fail("sample.py", "-o run --nr_gpu=99", folder)
    assert error.startswith("error: --nr_gpu=99: CPU devices here: 8; give at")


@pytest.mark.parametrize(
    "task, expected",
    [
        ({}, (0, 1)),
        ({"cluster": {"worker": ["a:1", "b:1"]}, "index": 1}, (1, 2)),
        ({"cluster": {"chief": ["c:1"], "worker": ["a:1", "b:1"]}, "index": 1}, (2, 3)),
    ],
)
def test_position_counts_the_chief_first(task, expected, monkeypatch):
    config = {"task": {"type": "worker", "index": task.pop("index", 0)}} | task
    monkeypatch.setenv("TF_CONFIG", json.dumps(config if task else {}))
    assert cluster.position() == expected


@pytest.mark.parametrize("first", [-1, 2**31 - 2])
def test_first_image_of_a_seed_has_a_number_of_32_bits(folder, first):
    model, _ = checkpoint.load_model(str(folder / "run"))
    with pytest.raises(
        ValueError, match=f"first={first}: must be an integer from 0 to 2147483645"
    ):
        model.sample(2, [0, 1], first=first)


# Samples in shards.


def test_shards_hold_the_images_of_sample(folder, sampled):
    model, _ = checkpoint.load_model(str(folder / "run"))
    model.set_jit_compile(False)
    for k, count in enumerate((3, 3, 3, 2)):
        shard = sampled[f"samples-0000{k}.npz"]
        labels = np.arange(3 * k, 3 * k + count) % 3
        images = model.sample(count, labels, 4, first=3 * k).numpy()
        assert shard["labels"] == labels.tolist() and shard["num_levels"] == 256
        assert shard["images"] == images.tolist()
    # The PNG is that of the images in one file.
    whole = model.sample(11, np.arange(11) % 3, 4).numpy()
    parts = np.concatenate(
        [sampled[f"samples-0000{k}.npz"]["images"] for k in range(4)]
    )
    assert np.mean((parts == whole).all(axis=(1, 2, 3))) >= 0.9


def test_samples_of_several_devices_are_those_of_one(folder, sampled):
    stdout = run("sample.py", f"{SAMPLE}two --nr_gpu=2", folder)
    assert stdout == (
        "11 samples, rows of labels 0, 1, 2: two/samples.png, two/samples-00000.npz to "
        "two/samples-00003.npz\n"
    )
    assert samples_of(folder / "two") == sampled


def test_several_devices_give_what_one_does_with_xla(folder):
    scores = []
    for name, nr_gpu in (("xla_one", 1), ("xla_two", 2)):
        line = f"{SCORE} --jit_compile --nr_gpu={nr_gpu}"
        run("evaluate.py", line, folder)
        scores.append((folder / "scores.json").read_bytes())
        line = f"{SAMPLE}{name} --jit_compile --nr_gpu={nr_gpu}"
        run("sample.py", line, folder)
    assert samples_of(folder / "xla_two") == samples_of(folder / "xla_one")
    assert scores[0] == scores[1]


def test_command_that_was_killed_keeps_the_shards_that_are_there(
    folder, sampled, monkeypatch
):
    sample, done = PixelCNNPP.sample, []

    def sample_twice(self, *args, **kwargs):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(args)
        return sample(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(PixelCNNPP, "sample", sample_twice)
        stopped = command_lines.run("sample.py", f"{SAMPLE}killed", folder)
    assert (stopped.returncode, stopped.stderr) == (130, "interrupted\n")
    before = modified(folder / "killed")
    assert set(before) == {"samples-00000.npz", "samples-00001.npz"}
    # What a kill within the writing of a file leaves.
    (folder / "killed" / "samples-00002.npz.new").write_bytes(b"half")
    run("sample.py", f"{SAMPLE}killed", folder)
    after = modified(folder / "killed")
    assert {name: after[name] for name in before} == before
    assert samples_of(folder / "killed") == sampled


def test_shards_in_the_middle_that_are_gone_are_sampled_again(folder, sampled):
    (folder / "one" / "samples-00001.npz").unlink()
    run("sample.py", f"{SAMPLE}one --nr_gpu=2", folder)
    assert samples_of(folder / "one") == sampled


@pytest.mark.parametrize(
    "changes, text",
    [
        ("-s 5", "was written with seed=[4, 0], not seed=[5, 0]; give another"),
        ("--temperature=0.9", "was written with temperature=1.0, not temperature=0.9"),
        ("-ns 12", "was written with num_samples=11, not num_samples=12"),
        ("--shard_images=2", "was written with shard_images=3, not shard_images=2"),
        ("--labels=1,2", "was written with labels=[0, 1, 2], not labels=[1, 2]"),
        ("--kernels=bfloat16", "was written with model="),
        ("-o other", "was written with model="),
    ],
)
def test_shards_of_others_are_rejected_in_one_line(folder, sampled, changes, text):
    if not (folder / "other").exists():
        settings = {"field": "11x5", "num_labels": 3, "seed": 2}
        write_untrained(folder / "other", **settings, nr_filters=5)
    error = fail("sample.py", f"{SAMPLE}one {changes}", folder)
    assert error.startswith("error: --output_dir=one: one/samples-00000.npz ")
    assert text in error
    assert samples_of(folder / "one") == sampled


@pytest.mark.parametrize("contents", [b"", b"PK\x03\x04 torn", None])
def test_damaged_shard_is_named_in_one_line(folder, sampled, contents):
    path = folder / "damaged"
    path.mkdir(exist_ok=True)
    whole = (folder / "one" / "samples-00002.npz").read_bytes()
    contents = whole[:-30] if contents is None else contents
    (path / "samples-00002.npz").write_bytes(contents)
    error = fail("sample.py", f"{SAMPLE}damaged", folder)
    assert "damaged/samples-00002.npz is damaged, or was not written" in error


def test_samples_that_the_disk_has_no_room_for_are_rejected(folder, monkeypatch):
    monkeypatch.setattr(
        checks.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1919})
    )
    error = fail("sample.py", f"{SAMPLE}full/deep", folder)
    assert "--num_samples=11: the samples take" in error and "give 9 or fewer" in error


def test_two_commands_do_not_write_to_one_folder(folder, sampled):
    lock = shards.Shards(str(folder / "one"), "other", 1, {})
    with lock.locked(0):
        error = fail("sample.py", f"{SAMPLE}one", folder)
    assert f"--output_dir=one: process {os.getpid()} writes to it" in error


# Several machines.


def test_machines_divide_the_samples_and_the_first_joins_them(
    folder, sampled, as_worker
):
    as_worker(1)
    stdout = run("sample.py", f"{SAMPLE}shared", folder)
    assert stdout == "2 of 4 files of samples: shared\n"
    assert set(modified(folder / "shared")) == {f"samples-0000{k}.npz" for k in (1, 3)}
    as_worker(0)
    run("sample.py", f"{SAMPLE}shared", folder)
    assert samples_of(folder / "shared") == sampled


def test_machines_divide_the_scores_and_the_first_joins_them(folder, scored, as_worker):
    as_worker(1)
    stdout = run("evaluate.py", f"{SCORE} --output_dir=parts", folder)
    assert stdout == "scores of this machine: parts/scores-00001.npz\n"
    with np.load(folder / "parts" / "scores-00001.npz") as file:
        # 11 images in batches of 2: three batches, then three of which one is half.
        assert len(file["bits"]) == 5 and len(file["labels"]) == 5
    as_worker(0)
    stdout = run("evaluate.py", f"{SCORE} --output_dir=parts --nr_gpu=2", folder)
    names = ("scores.json", "scores.csv")
    assert (stdout, [(folder / name).read_bytes() for name in names]) == scored
    assert not list((folder / "parts").glob("*.npz"))


def test_more_machines_than_batches_give_the_same_scores(folder, as_worker):
    line = "-o run -b 8 --max_images=9 --scores_csv={}.csv --output_dir=many"
    run("evaluate.py", line.format("alone"), folder)
    for index in (2, 1, 0):
        as_worker(index, ("a:1", "b:1", "c:1"))
        run("evaluate.py", line.format("many"), folder)
    files = [list(csv.reader(open(folder / f"{n}.csv"))) for n in ("alone", "many")]
    assert files[0] == files[1] and len(files[0]) == 10


def test_scores_of_other_settings_are_rejected_in_one_line(folder, as_worker):
    as_worker(1)
    run("evaluate.py", "-o run -b 2 --output_dir=stale", folder)
    as_worker(0)
    line = "-o run -b 2 --split=train --output_dir=stale"
    error = fail("evaluate.py", line, folder)
    assert (
        "stale/scores-00001.npz was written with images=" in error
        and "split=test" in error
    )


def test_machine_that_is_not_the_first_completes_no_images(folder, as_worker):
    as_worker(1)
    line = "-o run --complete_rows=3 --output_dir=nothing"
    stdout = run("evaluate.py", line, folder)
    assert stdout.startswith("nothing to do here") and not (folder / "nothing").exists()


def test_scores_of_several_machines_need_a_folder(folder, as_worker):
    as_worker(0)
    error = fail("evaluate.py", SCORE, folder)
    assert error.startswith("error: TF_CONFIG: the scores of several machines come")


def test_chief_names_the_file_that_does_not_come(folder, as_worker):
    as_worker(0)
    line = "-o run -b 2 --output_dir=lonely --worker_timeout=1"
    done = command_lines.run("evaluate.py", line, folder)
    waiting, error = done.stderr.splitlines()
    assert waiting == "waiting for 1 files such as lonely/scores-00001.npz"
    assert error.startswith(
        "error: TF_CONFIG: no machine wrote lonely/scores-00001.npz in 1 s; start"
    )
