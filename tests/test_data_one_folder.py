"""A folder of images without train/ and test/: scored whole, or divided by names."""

import numpy as np
import pytest
import tensorflow as tf

import data
from data.image_split import split_by_name


def write(folder, *names):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.full((4, 4, 3), i, np.uint8)
        path.write_bytes(tf.io.encode_png(image).numpy())
    return str(folder)


def pixels(source):
    return [int(e["image"][0, 0, 0]) for e in source.examples().as_numpy_iterator()]


def test_without_a_share_all_images_are_test_and_there_is_no_train(tmp_path):
    root = write(tmp_path / "pictures", "b.png", "a.png", "c/d.png")
    source = data.load("folder", root, "test")
    assert list(source.names()) == ["a.png", "b.png", "c/d.png"]
    assert pixels(source) == [1, 0, 2]
    assert not data.has_labels("folder", root, "test")
    with pytest.raises(FileNotFoundError, match="pictures/train; .* --test_share=0.1"):
        data.load("folder", root, "train")


def test_share_divides_the_images_into_train_and_test(tmp_path):
    names = [f"{i}.png" for i in range(40)]
    root = write(tmp_path, *names)
    train, test = (
        data.load("folder", root, split, test_share=0.25) for split in data.SPLITS
    )
    assert {*train.names(), *test.names()} == set(names)
    assert train.num_images + test.num_images == 40
    assert pixels(test) == [int(name.removesuffix(".png")) for name in test.names()]


def test_name_decides_and_other_files_do_not():
    files = [f"{i}.png" for i in range(1000)]
    whole = split_by_name(files, 0.1)
    assert 70 < len(whole["test"]) < 130
    half = split_by_name(files[::2], 0.1)
    assert half["test"] == [file for file in files[::2] if file in whole["test"]]
    larger = split_by_name(files, 0.2)
    assert set(whole["test"]) < set(larger["test"])


@pytest.mark.parametrize("share", [1e-9, 0.5, 1 - 1e-9])
def test_of_two_images_each_split_has_one(share):
    split = split_by_name(["a.png", "b.png"], share)
    assert sorted(split["train"] + split["test"]) == ["a.png", "b.png"]
    assert len(split["train"]) == len(split["test"]) == 1


def test_class_folders_of_one_folder_are_its_labels(tmp_path):
    names = [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(20)]
    root = write(tmp_path, *names)
    test = data.load("folder", root, "test", labels=True, test_share=0.3)
    assert test.class_names == ("cat", "dog")
    examples = list(test.examples().as_numpy_iterator())
    for name, example in zip(test.names(), examples, strict=True):
        assert example["label"] == ("cat", "dog").index(name[:3])
    assert {example["label"] for example in examples} == {0, 1}
    assert data.has_labels("folder", root, "test")


def test_share_is_rejected_where_there_is_a_test_set(tmp_path, npz_path):
    root = write(tmp_path, "train/a.png", "test/b.png")
    with pytest.raises(ValueError, match="--test_share=0.1: .* has train/ and test/"):
        data.load("folder", root, "test", test_share=0.1)
    with pytest.raises(ValueError, match="--test_share=0.1: npz does not take it"):
        data.load("npz", npz_path, "test", test_share=0.1)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_share_is_between_0_and_1(tmp_path, share):
    root = write(tmp_path, "a.png", "b.png")
    with pytest.raises(ValueError, match=f"--test_share={share}: must be between"):
        data.load("folder", root, "test", test_share=share)


def test_one_image_cannot_be_divided(tmp_path):
    root = write(tmp_path, "a.png")
    with pytest.raises(ValueError, match="has one image; put more there"):
        data.load("folder", root, "train", test_share=0.5)


def test_a_run_within_the_images_is_none_of_them(tmp_path, caplog):
    write(tmp_path, "a.png", "b.png", "run/samples/step-0000003.png")
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "run" / "checkpoints").mkdir()
    assert data.load("folder", str(tmp_path), "test").num_images == 2
    assert "skipped 1 folders of runs" in caplog.text


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "val")])
def test_splits_of_other_names_are_no_classes(tmp_path, names):
    write(tmp_path, *(f"{name}/a.png" for name in names))
    for share in (None, 0.5):
        with pytest.raises(ValueError, match="looks like a split .*train and test"):
            data.load("folder", str(tmp_path), "test", test_share=share)


def test_hint_is_not_the_command_that_was_given(tmp_path):
    write(tmp_path, "train/a.png", "val/b.png")
    with pytest.raises(FileNotFoundError, match="folders of images there.$"):
        data.load("folder", str(tmp_path), "test")


def test_share_for_a_folder_with_train_alone_is_pointed_to_it(tmp_path):
    root = write(tmp_path / "pictures", "train/a.png", "train/b.png")
    with pytest.raises(ValueError, match="has train/; .* give -i .*/pictures/train to"):
        data.load("folder", root, "test", test_share=0.5)
    assert data.load("folder", f"{root}/train", "test", test_share=0.5).num_images == 1


def test_folder_whose_pictures_would_be_images(tmp_path):
    split = write(tmp_path / "split", "train/a/a.png", "test/a/a.png")
    for folder in ("train", "train/a/maps", "test/maps"):
        assert data.are_images_of(split, f"{split}/{folder}")
    for folder in ("", "maps", "test_maps", "../train"):
        assert not data.are_images_of(split, f"{split}/{folder}")
    one = write(tmp_path / "one", "a.png")
    assert data.are_images_of(one, one) and data.are_images_of(one, f"{one}/maps")
    assert not data.are_images_of(one, str(tmp_path))
    # The folder of a run is not read for images.
    (tmp_path / "one" / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "one" / "run" / "config.json").write_text("{}")
    assert not data.are_images_of(one, f"{one}/run/sampled")
