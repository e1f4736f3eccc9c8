"""Files written by version 0.1.0: a run killed after step 3, and a SavedModel.

fixtures/version_0_1_0/expected.npz holds what that version computed from them.
"""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

import data
from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.training.run import prepare

pytestmark = pytest.mark.slow

FOLDER = pathlib.Path(__file__).parent / "fixtures" / "version_0_1_0"


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def images():
    """The first 20 test images of shapes, and their labels."""
    source = data.load("shapes", "", "test", labels=True, image_size=8)
    examples = list(source.examples().take(20).as_numpy_iterator())
    return [np.stack([example[key] for example in examples]) for key in examples[0]]


def test_run_gives_the_same_scores_and_samples(expected, images):
    model, _ = checkpoint.load_model(str(FOLDER / "run"))
    log_prob = model.log_prob(*images)
    np.testing.assert_allclose(log_prob, expected["log_prob"], rtol=1e-5)
    samples = model.sample(5, np.arange(5), (0, 3)).numpy().astype(int)
    # A rounding error may move a sub-pixel, and those after it, to another value.
    assert np.mean(samples == expected["samples"]) > 0.9


def test_run_resumes_to_the_parameters_that_the_old_version_came_to(expected, tmp_path):
    shutil.copytree(FOLDER / "run", tmp_path / "run")
    config = checkpoint.load_config(str(tmp_path / "run"))
    config = dataclasses.replace(config, num_samples=0)
    train, test = (
        data.load("shapes", "", split, labels=True, image_size=8)
        for split in ("train", "test")
    )
    few = dataclasses.replace(test, indices=np.arange(8))
    loop = prepare(config, train, few, str(tmp_path / "run"), load_params=True)
    loop.run()
    averages = [v.numpy().ravel() for v in loop.state.ema_parameters.values()]
    ours, theirs = np.concatenate(averages), expected["averages_at_6"]
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)


def test_saved_model_gives_the_same_scores_and_samples(expected, images, tmp_path):
    shutil.unpack_archive(FOLDER / "saved_model.tar.gz", tmp_path, filter="data")
    signatures = tf.saved_model.load(str(tmp_path / "saved_model")).signatures
    served = signatures["log_prob"](images=tf.constant(images[0]))["log_prob"]
    np.testing.assert_allclose(served, expected["served_log_prob"], rtol=1e-5)
    samples = signatures["sample"](
        num_images=tf.constant(4),
        seed=tf.constant([0, 1]),
        temperature=tf.constant(1.0),
    )["images"].numpy()
    assert np.mean(samples == expected["served_samples"]) > 0.9
