"""The tools: ROC-AUC by hand; images of other kinds; TensorFloat-32."""

import functools
import json
import sys

import child_processes
import command_lines
import numpy as np
import pytest
import small_runs
from conftest import ROOT

from data import shapes
from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.evaluation.scores import RATIO_SCORES, open_csv

sys.path.insert(0, str(ROOT / "tools"))

import roc_auc


def test_roc_auc_is_the_share_of_pairs_ties_counting_half():
    # 2 is above 1 and ties with 2; 4 is above all: (1 + ½ + 0 + 1 + 1 + 1) / 6.
    inside, ood = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    assert roc_auc.roc_auc(inside, ood) == 4.5 / 6
    assert roc_auc.roc_auc(ood, inside) == 1.5 / 6
    assert roc_auc.roc_auc(np.ones(3), np.ones(2)) == 0.5


def write_scores(path, scores):
    with open_csv(str(path)) as write_rows:
        write_rows(map(str, range(len(scores))), None, np.array(scores))
    return path


@pytest.fixture
def measure(tmp_path):
    """Runs roc_auc.py on files of scores in a folder."""
    write_scores(tmp_path / "in.csv", [3.0, 4.0, 5.0])
    write_scores(tmp_path / "ood.csv", [1.0, 2.0])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    return lambda line: command_lines.run("tools/roc_auc.py", line, tmp_path)


def test_roc_auc_command_measures_scores_and_their_distance_from_the_median(measure):
    done = measure("--in_distribution=in.csv --ood=ood.csv --reference=in.csv")
    assert done.stdout.splitlines() == [
        "bits/dim: in-distribution 4.000, OOD 1.500",
        "ROC-AUC of bits/dim: 0.000",
        "ROC-AUC of the distance from 4.000 bits/dim: 1.000",
    ]


def test_low_ratios_are_those_of_ood_images(tmp_path):
    for name, ratios in (("in", [5.0, 3.0]), ("ood", [4.0, 1.0])):
        with open_csv(str(tmp_path / f"{name}.csv"), RATIO_SCORES) as write_rows:
            scores = np.ones(2), np.ones(2), np.array(ratios)
            write_rows(["0", "1"], None, *scores)
    line = "--in_distribution=in.csv --ood=ood.csv --column=log_likelihood_ratio"
    run = functools.partial(command_lines.run, "tools/roc_auc.py")
    done = run(line, tmp_path)
    write_scores(tmp_path / "ood.csv", [1.0])
    failed = run(line, tmp_path)
    # Below: 4 < 5, 1 < 5 and 1 < 3, of four pairs.
    assert done.stdout.splitlines() == [
        "log-likelihood ratio: in-distribution 4.000, OOD 2.500",
        "ROC-AUC of log-likelihood ratio: 0.750",
    ]
    assert failed.stderr == (
        "error: --ood=ood.csv: is no file of evaluate.py --scores_csv "
        "--background_dir; give one.\n"
    )


def test_roc_auc_command_names_a_file_that_holds_no_scores(measure):
    done = measure("--in_distribution=in.csv --ood=other.csv")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == (
        "error: --ood=other.csv: is no file of evaluate.py --scores_csv; give one.\n"
    )


def test_other_images_are_made_of_the_test_images_they_are_said_to_be(tmp_path):
    first = shapes.draw("test", 0, 16)
    done = command_lines.run(
        "tools/other_images.py", "--output_dir=. --num_images=2", tmp_path
    )
    assert done.returncode == 0, done.stderr
    made = {path.stem: np.load(path)["test_images"] for path in tmp_path.glob("*.npz")}
    assert len(made) == 6
    for images in made.values():
        assert images.shape == (2, 16, 16, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(made["upside_down"][0], first[::-1])
    np.testing.assert_array_equal(made["negative"][0], 255 - first)
    middle = first[4:7, 7:10].astype(float).mean(axis=(0, 1))
    np.testing.assert_array_equal(made["blurred"][0][5, 8], np.round(middle))
    gradient = made["gradient"][0].astype(int)
    assert (gradient == gradient[:1]).all()
    assert abs(np.diff(gradient[0], 2, axis=0)).max() <= 1
    changed = (made["speckled"] != [first, shapes.draw("test", 1, 16)]).any(-1)
    assert 0 < changed.sum() < 20


def test_pretrained_model_is_the_ema_model_of_the_run_with_other_class_names(tmp_path):
    run = tmp_path / "run"
    small_runs.write_untrained(run, field="11x5", num_labels=2)
    make = functools.partial(command_lines.run, "tools/pretrained.py")
    line = f"-o {run} --output_dir={tmp_path / 'small'}"
    few = make(f"{line} --class_names=cat", tmp_path)
    assert few.stderr.startswith("error: --class_names=cat: the model has 2 classes")
    for names in ("cat,cat", "cat,"):
        same = make(f"{line} --class_names={names}", tmp_path)
        assert "must be different names, each of a letter or more" in same.stderr
    done = make(f"{line} --class_names=cat,dog", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    again = make(line, tmp_path)
    assert "exists; give another" in again.stderr
    ours, config = checkpoint.load_model(str(tmp_path / "small"))
    theirs, _ = checkpoint.load_model(str(run))
    assert config.class_names == ours.class_names == ("cat", "dog")
    for name, value in theirs.tf_variables().items():
        np.testing.assert_array_equal(ours.tf_variables()[name], value)
    with pytest.raises(ValueError, match="has no parameters; .* without --noaveraged"):
        checkpoint.load_model(str(tmp_path / "small"), averaged=False)


def test_pretrained_model_has_the_step_of_the_checkpoint_that_is_whole(tmp_path):
    run = tmp_path / "run"
    small_runs.write_untrained(run, field="11x5")
    ((step, _),) = checkpoint.list_checkpoints(str(run))
    for file in (run / "checkpoints").glob(f"ckpt-{step}.*"):
        newer = file.with_name(file.name.replace(f"-{step}.", f"-{step + 5}."))
        newer.write_bytes(b"torn")
    done = command_lines.run(
        "tools/pretrained.py", f"-o {run} --output_dir=small", tmp_path
    )
    assert done.stdout == f"model after step {step}: small\n", done.stderr
    assert checkpoint.list_checkpoints(str(tmp_path / "small"))[0][0] == step


def test_other_images_overwrite_nothing(tmp_path):
    (tmp_path / "negative.npz").write_text("somebody's")
    run = functools.partial(command_lines.run, "tools/other_images.py")
    there = run("--output_dir=. --num_images=2", tmp_path)
    assert there.stderr == (
        "error: --output_dir=.: ./negative.npz exists; give another folder.\n"
    )
    assert "is an address" in run("--output_dir=gs://a/b", tmp_path).stderr
    assert "give the folder for the files" in run("", tmp_path).stderr
    assert list(command_lines.contents_of(tmp_path)) == ["negative.npz"]


def test_other_images_of_any_size_fit_in_memory(tmp_path):
    done = command_lines.run(
        "tools/other_images.py", "--output_dir=. --image_size=1000000000", tmp_path
    )
    assert "1000000000 is not an integer in the range [8, 512]" in done.stderr


ROUNDING = """
import sys
sys.path.insert(0, "tools")
import tf32, tensorflow as tf
bits = [2.0**-10, 2.0**-11, 2.0**-12, 3 * 2.0**-12]
x = [[1 + b for b in bits], [-1 - b for b in bits]]
print(((tf32.rounded(tf.constant(x)) - tf.sign(x)) * 2**10).numpy().tolist())
"""


@pytest.mark.slow
def test_tf32_rounds_to_10_bits_of_mantissa_and_scores_with_it(tmp_path):
    done = child_processes.run("-c", ROUNDING, cwd=ROOT)
    assert json.loads(done.stdout) == [[1, 1, 0, 1], [-1, -1, 0, -1]], done.stderr

    small_runs.write_untrained(tmp_path / "run", data_set="shapes", field="11x5")
    line = f"--save_dir={tmp_path / 'run'} --max_images=3 --output_json={{}}.json"
    scores = []
    assert (
        command_lines.run("evaluate.py", line.format("exact"), tmp_path).returncode == 0
    )
    tool = [ROOT / "tools" / "tf32.py", *line.format("rounded").split()]
    done = child_processes.run(*tool, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("exact", "rounded"):
        found = json.loads((tmp_path / f"{name}.json").read_text())
        scores.append(np.array(found["bits_per_dim_per_image"]))
    # Factors differ by up to 2^-11, scores of thousands of products by less.
    errors = np.abs(scores[0] - scores[1]) / scores[0]
    assert (errors > 1e-8).all() and (errors < 2**-11).all()
