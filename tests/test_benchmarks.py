"""The benchmarks, as a user runs them, at small sizes."""

import json
import pathlib

import pytest
from command_lines import own_lines

ROOT = pathlib.Path(__file__).parent.parent


def measure(run_command, tmp_path, script, arguments):
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
def test_training_step_prints_what_it_writes(run_command, tmp_path):
    small = "-q 1 -n 8 -b 4 --steps=1 --nojit_compile"
    row, found = measure(run_command, tmp_path, "train_step", small)
    assert row["memory"] == f"{found['peak_gb']:.1f} GB"
    assert row["size"] == "1, 8" and row["batch"] == "4"
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


@pytest.mark.slow
def test_scoring_and_input_print_their_images_a_second(run_command, tmp_path):
    row, found = measure(run_command, tmp_path, "eval", "-q 1 -n 8 -b 4 --calls=2")
    assert row["images/s"] == f"{found['images_per_s']:.2f}" and row["batch"] == "4"
    row, found = measure(
        run_command, tmp_path, "input", "-d shapes --image_size=8 --num_images=64"
    )
    assert row["images/s"] == f"{found['images_per_s']:.0f}"
    assert found["num_images"] == 64 and found["image_shape"] == [8, 8, 3]


@pytest.mark.slow
def test_folder_without_the_official_code_is_named(run_command, tmp_path):
    done = run_command("benchmarks/official_step.py", f"--checkout={tmp_path}")
    assert done.returncode == 1
    assert own_lines(done.stderr) == [
        f"--checkout={tmp_path}: holds no pixel_cnn_pp/nn.py; clone it there."
    ]
