"""Shards: files that are damaged, or in the place of another, are rejected."""

import re
import shutil

import numpy as np
import pytest

from pixel_cnn_pp.evaluation.shards import Shards

IMAGES = np.arange(600, dtype=np.uint8).reshape(2, 10, 10, 3)


@pytest.fixture
def shards(tmp_path):
    shards = Shards(str(tmp_path), "samples", 3, {"seed": (3, 0)}, ("images",))
    for number in range(2):
        shards.write(number, images=IMAGES + number)
    return shards


def fail(shards, message):
    with pytest.raises(OSError, match=message), shards.locked(0):
        pass


def test_whole_shards_are_read(shards):
    with shards.locked(0):
        assert shards.missing() == [2]
    assert (shards.read(1)["images"] == IMAGES + 1).all()


def test_shard_in_the_place_of_another_is_rejected(shards):
    shutil.copy(shards.path(0), shards.path(2))
    message = "samples-00002.npz was written with number=0, not number=2; give another"
    fail(shards, message)


def test_damage_within_the_images_is_found(shards):
    with open(shards.path(1), "rb") as file:
        whole = file.read()
    pixels = (IMAGES + 1).tobytes()
    with open(shards.path(1), "wb") as file:
        file.write(whole.replace(pixels, bytes([7]) + pixels[1:]))
    fail(shards, f"{re.escape(shards.path(1))} is damaged, or was not written by this")


def test_shard_without_images_is_rejected(shards):
    np.savez(shards.path(1), settings=np.load(shards.path(1))["settings"])
    fail(shards, "samples-00001.npz is damaged, or was not written by this command")
