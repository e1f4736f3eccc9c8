"""The images of evaluate.py and sample.py: which they are, and what is said of them."""

import os
import types

import numpy as np
import pytest
import tensorflow as tf
from command_lines import FLAGS, entry_point
from small_runs import write_untrained

import data
from pixel_cnn_pp import images as image_ops


@pytest.fixture(scope="module")
def test_images(npz_path):
    with np.load(npz_path) as file:
        return file["test_images"]


@pytest.fixture(scope="module")
def folder(npz_path, test_images, tmp_path_factory):
    """Untrained runs, one with labels, and images in folders of classes."""
    folder = tmp_path_factory.mktemp("images")
    where = {"field": "11x5", "data_set": "npz", "data_dir": npz_path}
    write_untrained(folder / "plain", **where)
    write_untrained(folder / "labelled", num_labels=3, **where)
    np.savez(folder / "unlabelled.npz", test_images=test_images)
    for i, image in enumerate(test_images[:5]):
        png = tf.io.encode_png(image).numpy()
        for split in ("train", "test"):
            path = folder / "pictures" / split / "cab"[i % 3]
            path.mkdir(parents=True, exist_ok=True)
            (path / f"{i}.png").write_bytes(png)
    return folder


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """What data.load is asked for by a line of evaluate.py on a run of a folder."""
    where = {"data_set": "folder", "data_dir": str(tmp_path / "pictures")}
    run_of = {"test_share": 0.2, "skip_bad_images": True, "field": "11x5"}
    write_untrained(tmp_path / "run", **where, **run_of)
    point = entry_point("evaluate.py")

    def load(line):
        asked = {}
        image_flags = point.module.task_flags.image_flags

        def load(*source, **settings):
            asked.update(settings, of=source)
            if source[-1] == "train":
                raise ValueError("has no images of the run")
            return types.SimpleNamespace(image_shape=None)

        monkeypatch.setattr(image_flags.data, "load", load)
        with point.registered(), monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            FLAGS(["evaluate", "-o", "run", *line.split()])
            image_flags.load_images(with_labels=False)
        return asked

    return load


def test_size_of_the_images_is_that_of_the_model(loaded):
    assert loaded("")["image_size"] == 8
    assert loaded("-d shapes")["image_size"] == 8
    assert loaded("-d folder -i other --image_size=9")["image_size"] == 9
    assert loaded("-d tfds:imagenet_v2")["image_size"] == 8
    assert loaded("-d npz -i other.npz")["image_size"] is None


@pytest.mark.parametrize(
    "name, other, is_same",
    [
        ("cifar10", "cifar", True),
        ("imagenet", "imagenet32", True),
        ("imagenet", "imagenet64", False),
        ("tfds:fashion_mnist", "fashion_mnist", True),
        ("tfds:cifar10", "cifar", True),
        ("fashion_mnist", "mnist", False),
        ("npz", "folder", False),
    ],
)
def test_names_of_one_data_set(name, other, is_same):
    assert (data.main_name(name) == data.main_name(other)) == is_same


def test_run_s_share_is_for_its_data_set_by_any_name(tmp_path, monkeypatch):
    run_of = {"validation_share": 0.5, "data_set": "cifar", "data_dir": str(tmp_path)}
    write_untrained(tmp_path / "run", field="11x5", **run_of)
    point = entry_point("evaluate.py")
    image_flags = point.module.task_flags.image_flags
    monkeypatch.setattr(image_flags, "load", lambda *arguments: "all")
    monkeypatch.setattr(image_flags, "part_of_run", lambda *arguments: "a part")
    for name in ("cifar", "cifar10"):
        line = f"-o {tmp_path}/run -d {name} -i {tmp_path} --split=train"
        with point.registered():
            FLAGS(["evaluate", *line.split()])
            assert image_flags.load_images(False, False) == "a part"


def test_labels_that_do_not_fit_are_no_missing_labels(evaluate, folder, test_images):
    np.savez(folder / "few.npz", test_images=test_images, test_labels=[0, 1])
    line = f"-o {folder}/plain -i {folder}/few.npz --scores_csv={folder}/few.csv"
    done = evaluate(line, folder)
    assert done.returncode == 1 and "few.npz" in done.stderr
    assert "2 labels" in done.stderr


def test_test_share_of_the_run_is_for_its_own_folder(loaded):
    assert loaded("")["test_share"] == 0.2
    assert loaded("-d folder -i pictures")["test_share"] == 0.2
    assert loaded("-i other")["test_share"] is None
    assert loaded("-d folder -i other --test_share=0.5")["test_share"] == 0.5
    assert loaded("-i other")["skip_bad_images"] is True
    assert loaded("-d folder -i other")["skip_bad_images"] is False


@pytest.mark.slow
def test_order_of_classes_is_reported_where_the_model_has_no_names(evaluate, folder):
    line = "-o labelled -d folder -i pictures --max_images=1"
    done = evaluate(line, folder)
    assert done.returncode == 0
    assert "no names for its labels; the images' classes are taken in their own" in (
        done.stderr
    )
    assert "0 a, 1 b, 2 c" in done.stderr
    assert "no names" not in evaluate("-o labelled --max_images=1", folder).stderr


@pytest.mark.slow
def test_pictures_are_not_written_among_the_images(evaluate, folder):
    line = "--heatmap -o plain -d folder -i pictures --output_dir=pictures/train/c"
    done = evaluate(line, folder)
    assert done.returncode == 1 and done.stderr == (
        "error: --output_dir=pictures/train/c: lies within the images of pictures, and "
        "its pictures would be taken for images; give another folder.\n"
    )
    assert "samples.png" not in os.listdir(folder / "pictures" / "train" / "c")


@pytest.mark.slow
def test_other_images_than_those_of_the_run_are_reported(
    evaluate, folder, test_images, tmp_path
):
    path = tmp_path / "unlabelled.npz"
    np.savez(path, test_images=test_images)
    images = data.load("npz", str(path), "test", labels=False)
    write_untrained(
        tmp_path / "run",
        field="11x5",
        data_set="npz",
        data_dir=str(path),
        held_out_fingerprint=image_ops.fingerprint(images),
    )
    line = "-o run --max_images=1"
    assert evaluate(line, tmp_path).stderr == ""
    # Of another place no such thing is known.
    assert evaluate(f"{line} -i {folder}/unlabelled.npz", tmp_path).stderr == ""
    np.savez(path, test_images=test_images[::-1])
    done = evaluate(line, tmp_path)
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert "--split=test: these are not the images that the run had" in done.stderr
