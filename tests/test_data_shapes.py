"""The embedded shapes."""

import hashlib

import numpy as np
import pytest

import data
from data import shapes


def examples(split, size, **kwargs):
    source = data.load("shapes", None, split, labels=True, image_size=size)
    return list(source.examples(**kwargs).as_numpy_iterator())


def test_there_are_10000_and_1000_images_32_by_32_by_default():
    train, test = (data.load("shapes", None, split) for split in ("train", "test"))
    assert (train.num_images, test.num_images) == (10_000, 1_000)
    assert train.image_shape == (32, 32, 3)
    assert train.num_labels is None
    assert list(train.examples().element_spec) == ["image"]


def test_labels_are_the_five_shapes_200_times_each_in_test():
    source = data.load("shapes", None, "test", labels=True, image_size=8)
    labels = [example["label"] for example in source.examples().as_numpy_iterator()]
    assert np.bincount(labels).tolist() == [200] * 5
    assert source.num_labels == 5


def test_an_image_is_a_function_of_split_index_and_size():
    shuffled = examples("test", 16, epoch=0, seed=3)
    order = np.random.default_rng([3, 0]).permutation(1_000)
    for index, example in zip(order[:100], shuffled, strict=False):
        np.testing.assert_array_equal(
            example["image"], shapes.draw("test", int(index), 16)
        )
        assert example["label"] == index % 5


def test_no_two_images_are_alike():
    drawn = {
        shapes.draw(split, i, 16).tobytes()
        for split in ("train", "test")
        for i in range(500)
    }
    assert len(drawn) == 1_000


def test_the_set_does_not_change():
    digest = hashlib.sha256()
    for split in ("train", "test"):
        for i in range(50):
            digest.update(shapes.draw(split, i, 16).tobytes())
    assert digest.hexdigest()[:16] == "e518727240aed296"


def test_a_disc_covers_its_centre_and_not_its_corners():
    y, x = np.array([[0.0], [0.99]]), np.array([[0.0, 0.99]])
    inside = shapes.outline("disc", y, x) < 0
    np.testing.assert_array_equal(inside, [[True, False], [False, False]])


def test_a_ring_is_open_in_the_middle_and_a_cross_in_its_corners():
    zero, edge = np.array([[0.0]]), np.array([[0.7]])
    assert shapes.outline("ring", zero, zero) > 0 > shapes.outline("ring", zero, edge)
    assert shapes.outline("cross", edge, edge) > 0 > shapes.outline("cross", zero, edge)


@pytest.mark.parametrize("size", [8, 9, 48])
def test_any_size_from_8_works(size):
    source = data.load("shapes", None, "train", image_size=size)
    assert source.image_shape == (size, size, 3)
    assert next(iter(source.examples()))["image"].shape == (size, size, 3)


def test_below_8_the_size_is_rejected():
    with pytest.raises(ValueError, match="image_size=7: .* use for example 32"):
        data.load("shapes", None, "train", image_size=7)
