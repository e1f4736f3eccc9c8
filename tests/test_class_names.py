"""Labels of a trained model are found by class name, whatever the folders at hand."""

import numpy as np
import pytest
import small_models
import small_runs
import tensorflow as tf

import data
from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.evaluation.evaluator import score
from pixel_cnn_pp.evaluation.samples import parse_labels
from pixel_cnn_pp.images import relabel

pytestmark = pytest.mark.slow


def write_images(folder, names, num=4):
    """`num` images of each class in train/ and test/, the same for a name."""
    for name in names:
        rng = np.random.default_rng(sum(name.encode()))
        for split in ("train", "test"):
            (folder / split / name).mkdir(parents=True)
            for i in range(num):
                image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                path = str(folder / split / name / f"{i}.png")
                tf.io.write_file(path, tf.io.encode_png(image))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the classes ant, bee and cat, and their images."""
    folder = tmp_path_factory.mktemp("classes")
    write_images(folder / "images", ("ant", "bee", "cat"))
    splits = [
        data.load("folder", str(folder / "images"), split, labels=True)
        for split in ("train", "test")
    ]
    config = small_runs.Config.of(
        **small_runs.SMALL | {"field": "11x5", "init_batch_size": 8, "max_steps": 2},
        num_labels=3,
        class_conditional=True,
    )
    small_runs.training.prepare(config, *splits, str(folder / "run")).run()
    return folder


def test_images_that_lack_a_class_are_scored_with_the_labels_of_the_run(run, tmp_path):
    model, config = checkpoint.load_model(str(run / "run"))
    assert model.class_names == config.class_names == ("ant", "bee", "cat")
    write_images(tmp_path, ("bee", "cat"))
    fewer = data.load("folder", str(tmp_path), "test", labels=True)
    all_images = data.load("folder", str(run / "images"), "test", labels=True)
    (ours, labels), *_ = score(model, relabel(fewer, model.class_names), 8)
    theirs = np.concatenate([bits for bits, _ in score(model, all_images, 8)])
    np.testing.assert_array_equal(labels, [1] * 4 + [2] * 4)
    np.testing.assert_allclose(ours, theirs[4:], rtol=1e-5)


def test_images_of_an_unknown_class_are_rejected(tmp_path):
    write_images(tmp_path, ("bee", "dog"))
    images = data.load("folder", str(tmp_path), "test", labels=True)
    with pytest.raises(ValueError, match="images of class 'dog': the model has the cl"):
        relabel(images, ("ant", "bee", "cat"))


def test_run_on_a_renamed_class_is_not_resumed(run, tmp_path):
    write_images(tmp_path, ("ant", "bee", "cow"))
    splits = [
        data.load("folder", str(tmp_path), split, labels=True)
        for split in ("train", "test")
    ]
    config = checkpoint.load_config(str(run / "run"))
    with pytest.raises(ValueError, match="class 2 of the images is 'cow', and 'cat'"):
        small_runs.training.prepare(config, *splits, str(run / "run"), True)


def test_labels_of_the_command_line_are_compared_in_one_unicode_form():
    model = small_models.initialized((8, 8, 3), field="11x5", num_labels=2)
    model.class_names = ("bee", "caf\u00e9")
    assert parse_labels(["cafe\u0301", "0", "bee"], model) == [1, 0, 0]


def test_labels_are_names_where_names_are_numbers():
    model = small_models.initialized((8, 8, 3), field="11x5", num_labels=2)
    model.class_names = ("1", "2")
    assert parse_labels(["2", "1"], model) == [1, 0]
    with pytest.raises(ValueError, match="--labels=0,1: .*the classes are 1, 2"):
        parse_labels(["0", "1"], model)
