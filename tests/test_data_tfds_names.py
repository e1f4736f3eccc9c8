"""Any image data set of tensorflow_datasets by its name, read from prepared files."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from command_lines import own_lines, run
from tfds_sets import (
    ManySizes,
    NumberedImages,
    OfTests,
    numbered,
    of_sizes,
    prepare,
    prepare_mocked,
)

import data
from data import source as data_source
from data.resize import crop_and_resize
from data.source import permutation
from data.tfrecord import Records
from pixel_cnn_pp.config import Config

NUM = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Numbered images: 0 … 59 in train, in 4 files; 100 … 104 in validation."""
    folder = tmp_path_factory.mktemp("tfds") / "a[1]*? \\ ä"
    splits = {"train": numbered(range(NUM)), "validation": numbered(range(100, 105))}
    prepare(NumberedImages(data_dir=str(folder)), splits, num_shards=4)
    return str(folder)


def load(root, split="train", name="tfds:numbered_images", **kwargs):
    return data.load(name, root, split, **kwargs)


def numbers(source, *args):
    images = [example["image"] for example in source.examples(*args)]
    assert all((image == image[0, 0]).numpy().all() for image in images)
    return [int(image[0, 0, 0]) for image in images]


def test_parts_of_a_streamed_set_hold_each_image_once(root):
    train, validation = data.divide(load(root, labels=True), 0.2, seed=3)
    held_out = np.random.default_rng([3, 0, 1]).permutation(NUM)[:12]
    stored = np.array(numbers(load(root)))
    assert numbers(validation) == stored[np.sort(held_out)].tolist()
    assert sorted(numbers(train, 4, 1) + numbers(validation, 4, 1)) == sorted(stored)
    labels = [int(example["label"]) for example in validation.examples()]
    assert labels == [n % 3 for n in numbers(validation)]


def error_of(*args, **kwargs):
    with pytest.raises((ValueError, OSError)) as error:
        load(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "name, shape, num_labels",
    [
        ("mnist", (28, 28, 1), 10),
        ("fashion_mnist", (28, 28, 1), 10),
        ("svhn_cropped", (32, 32, 3), 10),
        ("cifar100", (32, 32, 3), 100),
        ("tfds:emnist/letters", (28, 28, 1), 37),
        ("tfds:omniglot", (105, 105, 3), 1623),
        ("cifar", (32, 32, 3), 10),
    ],
)
def test_sets_of_the_catalog_give_the_examples_of_mock_data(
    tmp_path, name, shape, num_labels
):
    tfds_name = {"cifar": "cifar10"}.get(name, name.removeprefix("tfds:"))
    mocked = prepare_mocked(tfds_name, tmp_path, num_examples=5)
    assert data.has_labels(name, str(tmp_path), "test")
    source = data.load(name, str(tmp_path), "test", labels=True)
    assert (source.image_shape, source.num_images) == (shape, 5)
    assert source.num_labels == num_labels
    assert source.examples(0).element_spec == {
        "image": tf.TensorSpec(shape, tf.uint8),
        "label": tf.TensorSpec([], tf.int32),
    }
    examples = source.examples(1, 2).as_numpy_iterator()
    assert {(e["image"].tobytes(), int(e["label"])) for e in examples} == {
        (e["image"].tobytes(), int(e["label"])) for e in mocked
    }


def test_labels_have_the_names_of_the_set(root):
    source = load(root, labels=True)
    assert source.class_names == ("none", "one", "two")
    for example in source.examples(0, 1).as_numpy_iterator():
        assert example["label"] == example["image"][0, 0, 0] % 3
    assert load(root).class_names is None
    assert set(load(root).examples(0).element_spec) == {"image"}


def test_an_order_is_a_permutation_that_follows_from_seed_and_epoch(root):
    source = load(root)
    stored = np.array(numbers(source))
    assert sorted(stored) == list(range(NUM))
    for epoch, seed in ((0, 1), (1, 1), (1, 0)):
        order = permutation(NUM, epoch, seed)
        assert numbers(source, epoch, seed) == stored[order].tolist()


@pytest.mark.parametrize("epoch", [None, 2])
@pytest.mark.parametrize("start", [0, 5, 37, NUM])
def test_start_equals_skip(root, epoch, start):
    source = load(root)
    assert numbers(source, epoch, 1, start) == numbers(source, epoch, 1)[start:]
    assert int(source.examples(epoch, 1, start).cardinality()) == NUM - start


def test_only_what_is_taken_is_read(root, monkeypatch):
    source, taken = load(root), []

    def read(self, index):
        taken.append(index)
        return theirs(self, index)

    theirs = Records.read
    monkeypatch.setattr(Records, "read", read)
    monkeypatch.setattr(data_source, "CHUNK", 2)
    list(source.examples(0, 1).take(1))
    assert taken[:2] == permutation(NUM, 0, 1)[:2].tolist()
    assert len(taken) < NUM / 2


def test_a_set_without_a_test_split_names_the_flag(root):
    message = error_of(root, "test")
    assert message.startswith("tfds:numbered_images has no split test (it has train, v")
    assert "--tfds_split_test, for example 'train[90%:]'" in message
    test = load(root, "test", tfds_split_test="validation")
    assert sorted(numbers(test)) == list(range(100, 105))
    assert load(root, tfds_split_test="validation").num_images == NUM


@pytest.mark.parametrize("part", ["train[90%:]", "train[7:20]", "train[:3]+validation"])
def test_what_of_train_is_tested_on_is_not_trained_on(root, part):
    test = numbers(load(root, "test", tfds_split_test=part))
    theirs = tfds.load("numbered_images", data_dir=root, split=part)
    assert sorted(test) == sorted(int(e["image"][0, 0, 0]) for e in theirs)
    train = numbers(load(root, tfds_split_test=part))
    assert sorted(train) == sorted(set(range(NUM)) - set(test))


@pytest.mark.parametrize(
    "part, problem",
    [
        ("train", "--tfds_split_test=train: no image of tfds:numbered_images is left"),
        ("valid", "has no split valid (it has train, validation)"),
        ("train[90", "has no split train[90 (it has"),
        ("train[:0]", "--tfds_split_test=train[:0]: no image"),
    ],
)
def test_parts_that_do_not_exist_or_are_all_are_rejected(root, part, problem):
    split = "test" if part == "train[:0]" else "train"
    assert problem in error_of(root, split, tfds_split_test=part)


def test_split_test_is_for_sets_of_tfds_by_name():
    for name in ("cifar", "imagenet", "shapes", "folder"):
        message = error_of(None, "test", name, tfds_split_test="train[90%:]")
        assert message.startswith(f"--tfds_split_test=train[90%:]: {name} does not")


def test_images_of_several_sizes_are_cropped_and_resized(tmp_path):
    examples = of_sizes([(9, 6), (5, 20), (8, 8)])
    prepare(ManySizes(data_dir=str(tmp_path)), {"test": examples})
    message = error_of(str(tmp_path), "test", "tfds:many_sizes")
    assert "several sizes; give --image_size=N, for example 32" in message
    source = load(str(tmp_path), "test", "tfds:many_sizes", image_size=4)
    assert source.image_shape == (4, 4, 3)
    resized = {crop_and_resize(e["image"], 4).numpy().tobytes() for e in examples}
    found = source.examples(0, 1).as_numpy_iterator()
    assert {example["image"].tobytes() for example in found} == resized
    # Two class labels, none of them called label.
    assert "has several labels" in error_of(
        str(tmp_path), "test", "tfds:many_sizes", image_size=4, labels=True
    )
    assert not data.has_labels("tfds:many_sizes", str(tmp_path), "test")


def test_images_of_one_size_are_resized_where_another_is_asked_for(root):
    source = load(root, image_size=2)
    assert source.image_shape == (2, 2, 1)
    assert sorted(numbers(source)) == list(range(NUM))


@pytest.mark.parametrize(
    "name, problem",
    [
        ("tfds:mnsit", "no data set of this name; did you mean mnist"),
        ("tfds:zzzz", "no data set of this name; all are at https://www.tensorflow"),
        (
            "tfds:",
            "is no data set of tensorflow-datasets (Parsing builder name string failed",
        ),
        (
            "tfds:a b",
            "is no data set of tensorflow-datasets (Parsing builder name string a b",
        ),
        (
            "tfds:emnist/no",
            "is no data set of tensorflow-datasets (Failed to construct dataset",
        ),
        (
            "tfds:mnist:9.9.9",
            "is no data set of tensorflow-datasets (Failed to construct dataset",
        ),
        ("tfds:glue", "tfds:glue has no images (an example of it has"),
        ("tfds:div2k", "tfds:div2k has several images (an example of it has"),
        ("mnsit", "'mnsit' is not known; use shapes, npz"),
    ],
)
def test_what_is_no_image_set_is_one_line(tmp_path, name, problem):
    assert problem in error_of(str(tmp_path), "train", name)
    assert not name.startswith("tfds") or not data.has_labels(
        name, str(tmp_path), "train"
    )


def test_images_of_floats_are_rejected(tmp_path):
    class FloatImages(OfTests):
        FEATURES = {"image": tfds.features.Image(shape=(4, 4, 1), dtype=np.float32)}

    message = error_of(str(tmp_path), name="tfds:float_images")
    assert "has images float32 [4, 4, 1], where 8 bits" in message


def test_labels_that_are_not_there_or_not_published_are_named(tmp_path):
    message = error_of(str(tmp_path), name="tfds:celeb_a", labels=True)
    assert message.startswith("tfds:celeb_a has no labels (an example of it has ")
    examples = [{**example, "label": -1} for example in numbered([1, 2])]
    prepare(NumberedImages(data_dir=str(tmp_path)), {"test": examples})
    message = error_of(str(tmp_path), "test", labels=True)
    assert "test: its labels are not published, they are -1; leave class" in message
    assert sorted(numbers(load(str(tmp_path), "test"))) == [1, 2]


def test_files_of_another_format_are_named(tmp_path):
    splits = {"train": numbered([1])}
    builder = NumberedImages(data_dir=str(tmp_path))
    prepare(builder, splits, file_format="array_record")
    assert "is prepared as array_record, and tfrecord is" in error_of(str(tmp_path))


def test_a_file_that_vanishes_ends_the_streaming_with_a_read_error(tmp_path):
    prepare(NumberedImages(data_dir=str(tmp_path)), {"train": numbered(range(9))})
    source = load(str(tmp_path))
    (file,) = tmp_path.rglob("*.tfrecord*")
    file.rename(tmp_path / "away")
    with pytest.raises(tf.errors.UnknownError) as error:
        list(source.examples(0, 1))
    message = str(data.ReadError.of(error.value))
    assert message.startswith(f"{file} cannot be opened, No such file")


@pytest.mark.slow
def test_a_resumed_run_sees_the_images_of_an_uninterrupted_one(root, tmp_path):
    line = "-d tfds:numbered_images --tfds_split_test=train[80%:] -c --field=11x5 -n 4 "
    line += "-m 2 -b 4 -u 4 -p 0 -ns 0 -g 1 --nojit_compile --log_interval=1"
    link = tmp_path / "sets"  # A command line is split at spaces.
    link.symlink_to(root)
    for rest in (
        f"-i sets {line} -o whole --max_steps=14",
        f"-i sets {line} -o parts --max_steps=5",
        "-r -o parts --max_steps=14",
    ):
        done = run("train.py", rest, tmp_path)
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert "48 training and 12 test images, 4×4×1" in done.stdout
    columns = "step", "epoch", "train_bits_per_dim", "test_bits_per_dim"
    whole, parts = (
        [[row[name] for name in columns] for row in rows_of(tmp_path / folder)]
        for folder in ("whole", "parts")
    )
    (at_the_stop,) = [row for row in parts if row not in whole]
    assert at_the_stop[:3] == ["5", "0", ""]  # Tested, as a run does at its end.
    assert [row for row in parts if row != at_the_stop] == whole
    assert [row[0] for row in whole[-3:]] == ["13", "14", "14"]
    config = Config.load(tmp_path / "parts" / "config.json")
    assert config.class_names == ("none", "one", "two")
    assert config.tfds_split_test == "train[80%:]"
    line = "-o parts --output_json=scores.json"
    assert run("evaluate.py", line, tmp_path).returncode == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["num_images"] == 12
    assert scores["bits_per_dim"] == pytest.approx(float(parts[-1][-1]), rel=1e-6)


def rows_of(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))
