"""Orders: the same for all sources, so tried on one that is in memory and on shapes."""

import child_processes
import numpy as np
import pytest
import tensorflow as tf

import data
from data.source import permutation

NUM = 150  # More than two of the chunks that are read at once, and a remainder.


@pytest.fixture
def numbered(tmp_path):
    """Images whose only pixel, and label, is their index."""
    index = np.arange(NUM, dtype=np.uint8)
    path = tmp_path / "numbered.npz"
    np.savez(path, train_images=index.reshape(-1, 1, 1, 1), train_labels=index)
    return data.load("npz", str(path), "train", labels=True)


def indices(source, *args, **kwargs):
    examples = list(source.examples(*args, **kwargs).as_numpy_iterator())
    assert all(example["image"].item() == example["label"] for example in examples)
    return [int(example["label"]) for example in examples]


def test_without_an_epoch_the_order_is_as_stored(numbered):
    assert indices(numbered) == list(range(NUM))


def test_every_epoch_holds_each_image_once(numbered):
    for epoch in (0, 1):
        assert sorted(indices(numbered, epoch)) == list(range(NUM))


def test_an_order_follows_from_seed_and_epoch_alone(numbered):
    tf.random.set_seed(1)
    first = indices(numbered, 3, seed=5)
    tf.random.set_seed(2)
    assert indices(numbered, 3, seed=5) == first
    expected = np.random.default_rng([5, 3]).permutation(NUM)
    np.testing.assert_array_equal(first, expected)


def test_orders_differ_between_epochs_and_between_seeds(numbered):
    orders = [
        indices(numbered, epoch, seed) for epoch, seed in ((0, 1), (1, 0), (1, 1))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("epoch", [None, 2])
@pytest.mark.parametrize("start", [0, 1, 64, 149, 150])
def test_start_equals_skip(numbered, epoch, start):
    skipped = numbered.examples(epoch, 7).skip(start).as_numpy_iterator()
    expected = [int(example["label"]) for example in skipped]
    assert indices(numbered, epoch, 7, start) == expected
    assert len(expected) == NUM - start


def test_start_equals_skip_for_shapes_too():
    shapes = data.load("shapes", None, "test", labels=True, image_size=8)
    skipped = shapes.examples(1, 2).skip(990).as_numpy_iterator()
    started = shapes.examples(1, 2, 990).as_numpy_iterator()
    for expected, example in zip(skipped, started, strict=True):
        np.testing.assert_array_equal(example["image"], expected["image"])
        assert example["label"] == expected["label"]


def test_elements_have_static_shapes_and_a_known_number(numbered):
    examples = numbered.examples(0, start=20)
    assert examples.element_spec == {
        "image": tf.TensorSpec([1, 1, 1], tf.uint8),
        "label": tf.TensorSpec([], tf.int32),
    }
    assert int(examples.cardinality()) == 130


def test_permutation_without_epoch_counts_up():
    np.testing.assert_array_equal(permutation(3, None, 9), [0, 1, 2])


@pytest.mark.parametrize(
    "arguments, named",
    [((0, -1), "non-negative"), ((-2, 0), "non-negative"), ((0, 0, 151), "start=151")],
)
def test_numbers_out_of_range_are_rejected(numbered, arguments, named):
    with pytest.raises(ValueError, match=named):
        numbered.examples(*arguments)


def test_names_and_splits_that_are_not_known_are_rejected():
    with pytest.raises(ValueError, match="'mnsit' is not known; use shapes, npz"):
        data.load("mnsit", None, "train")
    with pytest.raises(
        ValueError, match="'validation' is not known; use train or test"
    ):
        data.load("shapes", None, "validation")
    with pytest.raises(ValueError, match="image_size=0"):
        data.load("shapes", None, "train", image_size=0)


@pytest.mark.slow
def test_shapes_do_without_tensorflow_datasets():
    code = (
        "import sys, data; data.load('shapes', None, 'train').examples(); "
        "assert 'tensorflow_datasets' not in sys.modules"
    )
    child_processes.run("-c", code).check_returncode()
