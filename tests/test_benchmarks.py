"""The benchmarks, as a user runs them, at small sizes."""

import json
import pathlib
import types

import child_processes
import numpy as np
import pytest
from command_lines import own_lines
from pages import PAGES, blocks

import data

ROOT = pathlib.Path(__file__).parent.parent


def run_command(script, *arguments):
    return child_processes.run(ROOT / script, *arguments)


def measure(tmp_path, script, arguments):
    """(the row that is printed, the results that are written)."""
    path = tmp_path / "found.json"
    done = run_command(
        f"benchmarks/{script}.py", *arguments.split(), f"--output_json={path}"
    )
    assert done.returncode == 0, done.stderr
    *_, headings, _, row = done.stdout.splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    names = [name.strip() for name in headings.strip("|").split("|")]
    return dict(zip(names, cells, strict=True)), json.loads(path.read_text())


@pytest.mark.slow
def test_training_step_prints_what_it_writes(tmp_path):
    small = "-q 1 -n 8 -b 4 --image_size=8 --steps=1 --nojit_compile"
    row, found = measure(tmp_path, "train_step", small)
    assert row["memory"] == f"{found['peak_gb']:.1f} GB"
    assert row["size"] == "1, 8" and row["batch"] == "4"
    assert 100 < found["operations"] == int(row["operations"]) < 10_000
    share = found["gflop_per_s"] / found["ceiling_gflop_per_s"]
    assert row["share"] == f"{share:.0%}"
    rate = found["images_per_s"]
    assert abs(found["gflop_per_s"] / found["gflop_per_image"] / rate - 1) < 1e-6


def test_training_step_of_2_resnets_and_32_filters_is_2_70_gflop_an_image(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from convolution import gflop_per_image

    from pixel_cnn_pp import PixelCNNPP

    model = PixelCNNPP(nr_resnet=2, nr_filters=32)
    assert f"{3 * gflop_per_image(model):.2f}" == "2.70"


def test_kernels_of_the_first_gpu_are_summed_by_kind(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from kernels import by_kind, xplane_pb2

    def plane(name, **streams):
        plane = xplane_pb2.XPlane(name=name)
        for number, (kernel, ms) in enumerate(streams.values()):
            plane.event_metadata[number].name = kernel
            event = xplane_pb2.XEvent(metadata_id=number, duration_ps=int(ms * 1e9))
            plane.lines.add(name=f"Stream #{number}(Compute)", events=[event, event])
        return plane

    gpu = plane(
        "/device:GPU:0",
        a=("sm90_xmma_fprop_implicit_gemm_bf16", 2.5),
        b=("loop_transpose_fusion_43", 1.0),
        c=("MemcpyD2D", 0.25),
        d=("wrapped_concatenate", 0.5),
    )
    gpu.lines.add(name="XLA Ops", events=gpu.lines[0].events)
    others = plane("/device:GPU:1", a=("nvjet", 8.0)), plane("/host:CPU", a=("x", 8.0))
    found = by_kind(xplane_pb2.XSpace(planes=[gpu, *others]))
    assert {kind: sums for kind, sums in found.items() if sums[0]} == {
        "convolutions": (2, 5.0),
        "inputs of convolutions": (4, 3.0),
        "copies and zeros": (2, 0.5),
        "all": (8, 8.5),
    }


def test_kernels_without_a_gpu_are_one_line():
    done = run_command("benchmarks/train_step.py", "--kernels")
    assert done.returncode == 1 and not done.stdout
    assert own_lines(done.stderr) == [
        "error: --kernels: TensorFlow finds no GPU here; remove the flag."
    ]


@pytest.mark.slow
def test_scoring_and_input_print_their_images_a_second(tmp_path):
    row, found = measure(tmp_path, "eval", "-q 1 -n 8 -b 4 --calls=2")
    assert row["images/s"] == f"{found['images_per_s']:.2f}" and row["batch"] == "4"
    row, found = measure(tmp_path, "input", "-d shapes --image_size=8 --num_images=64")
    assert row["images/s"] == f"{found['images_per_s']:.0f}"
    assert found["num_images"] == 64 and found["image_shape"] == [8, 8, 3]


@pytest.mark.slow
def test_folder_without_the_official_code_is_named(tmp_path):
    done = run_command("benchmarks/official_step.py", f"--checkout={tmp_path}")
    assert done.returncode == 1
    assert own_lines(done.stderr) == [
        f"--checkout={tmp_path}: holds no pixel_cnn_pp/nn.py; clone it there."
    ]


FAKE_NN = """
import tensorflow as tf
from tensorflow.contrib.framework.python.ops import add_arg_scope, arg_scope

@add_arg_scope
def mean(x, shift=0.0):
    return tf.reduce_mean(x) + shift

def adam_updates(params, grads, lr, mom1, mom2):
    return tf.group(*[p.assign(p - lr * g) for p, g in zip(params, grads)])

def discretized_mix_logistic_loss(x, l, sum_all=True):
    return tf.reduce_sum(tf.square(x - l), None if sum_all else [1, 2, 3])
"""
FAKE_MODEL = """
import tensorflow as tf
import pixel_cnn_pp.nn as nn

def model_spec(x, init=False, ema=None, dropout_p=0.5, nr_resnet=5, nr_filters=160):
    w = tf.get_variable("w", shape=[], initializer=tf.zeros_initializer())
    with nn.arg_scope([nn.mean], shift=0.25):
        mean = nn.mean(x)
    return w.assign(mean) if init else x * 0 + (ema.average(w) if ema else w)
"""


@pytest.fixture
def fake_checkout(tmp_path):
    """One parameter, the mean of the pixels, in the place of the official network."""
    package = tmp_path / "official" / "pixel_cnn_pp"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "nn.py").write_text(FAKE_NN)
    (package / "model.py").write_text(FAKE_MODEL)
    return package.parent


@pytest.mark.slow
def test_official_curve_trains_in_the_official_order(tmp_path, fake_checkout):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8) for n in (10, 5))
    np.savez(tmp_path / "images.npz", train_images=train, test_images=test)
    _, found = measure(
        tmp_path,
        "official_curve",
        f"--checkout={fake_checkout} --data={tmp_path / 'images.npz'} -b 4 -u 6 -s 3 "
        "--steps=4 --interval=2 -l 0.01 -e 0.5",
    )

    train, test = ((images - 127.5) / 127.5 for images in (train, test))
    rng, rate = np.random.RandomState(3), 0.01
    w = train[rng.permutation(10)[:6]].mean() + 0.25
    expected = []
    for _ in range(2):  # Epochs of two batches; two images are skipped.
        train = train[rng.permutation(10)]
        for batch in (train[:4], train[4:8]):
            rate *= 0.5
            w -= rate * 2 * (w - batch).sum()
        expected.append(np.square(test - w).sum() / (5 * 48 * np.log(2)))
    assert np.allclose([row["raw"] for row in found], expected, rtol=1e-5)
    assert [row["step"] for row in found] == [2, 4]


@pytest.mark.slow
def test_official_step_is_timed(tmp_path, fake_checkout):
    arguments = f"--checkout={fake_checkout} -q 1 -n 8 -b 4 --steps=1"
    row, found = measure(tmp_path, "official_step", arguments)
    assert row["size"] == "1, 8" and row["batch"] == "4"
    assert row["images/s"] == f"{found['images_per_s']:.2f}"


def test_images_of_the_page_are_the_first_of_each_training_batch(tmp_path, monkeypatch):
    (code,) = blocks(PAGES["docs/equivalence.md"], "python")
    counts = {"train": 50_000, "test": 10_000}

    def load(name, data_dir, split):
        assert (name, data_dir) == ("cifar", "DATA")
        # Each image is its number.
        examples = [{"image": np.full((1, 1, 1), i)} for i in range(counts[split])]
        stream = types.SimpleNamespace(as_numpy_iterator=lambda: iter(examples))
        return types.SimpleNamespace(examples=lambda: stream)

    monkeypatch.setattr(data, "load", load)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    with np.load("FILE.npz") as file:
        train, test = (file[f"{split}_images"].ravel() for split in ("train", "test"))
    expected = [*range(1102)]
    for start in (10_000, 20_000, 30_000, 40_000):
        expected += range(start, start + 1017)
    assert train.tolist() == expected and test.tolist() == [*range(1017)]
