"""Images that are quantized already are not quantized again."""

import numpy as np
import pytest
import small_runs
import tensorflow as tf
from small_models import initialized

import data
from pixel_cnn_pp.evaluation.evaluator import score
from pixel_cnn_pp.images import quantized
from pixel_cnn_pp.likelihood import bits_per_dim


def save(path, images, **arrays):
    np.savez(path, train_images=images, test_images=images, **arrays)
    return data.load("npz", str(path), "test")


def values(images):
    return np.stack([e["image"] for e in images.examples().as_numpy_iterator()])


def test_file_with_num_levels_is_used_as_it_is(tmp_path):
    images = np.random.default_rng(0).integers(0, 32, (6, 4, 4, 1), dtype=np.uint8)
    source = save(tmp_path / "a.npz", images, num_levels=32)
    assert source.num_levels == 32
    np.testing.assert_array_equal(values(quantized(source, 32)), images)


def test_8_bit_images_are_quantized_once():
    source = data.load("shapes", None, "test", image_size=8)
    once = quantized(source, 32)
    assert once.num_levels == 32
    example, ours = (next(iter(s.examples()))["image"].numpy() for s in (source, once))
    np.testing.assert_array_equal(ours, example // 8)
    assert quantized(once, 32) is once


@pytest.mark.parametrize("num_levels", [2, 32])
def test_small_values_without_num_levels_are_rejected(tmp_path, num_levels):
    images = np.random.default_rng(0).integers(0, num_levels, (6, 4, 4, 1), np.uint8)
    source = save(tmp_path / "a.npz", images)
    rule = f"--num_levels={num_levels}: .* save num_levels={num_levels} beside them"
    with pytest.raises(ValueError, match=rule):
        quantized(source, num_levels)


def test_images_of_another_number_of_values_are_rejected(tmp_path):
    source = save(tmp_path / "a.npz", np.zeros((6, 4, 4, 1), np.uint8), num_levels=16)
    with pytest.raises(ValueError, match="--num_levels=32: the images have 16 pixel"):
        quantized(source, 32)


@pytest.mark.parametrize("num_levels", [1, 4097, [4, 4], 2.0])
def test_bad_num_levels_of_a_file_is_rejected(tmp_path, num_levels):
    with pytest.raises(ValueError, match="num_levels"):
        save(
            tmp_path / "a.npz", np.zeros((6, 4, 4, 1), np.uint8), num_levels=num_levels
        )


def test_pixel_values_beyond_num_levels_of_a_file_are_rejected(tmp_path):
    images = np.full((6, 4, 4, 1), 9, np.uint8)
    with pytest.raises(ValueError, match="pixel value 9 where num_levels is 8"):
        save(tmp_path / "a.npz", images, num_levels=8)


def test_samples_of_a_model_score_the_same_in_python_and_from_their_file(tmp_path):
    model = initialized((4, 4, 1), field="11x5", num_levels=32)
    samples = model.sample(5, seed=(0, 1)).numpy()
    source = save(tmp_path / "a.npz", samples, num_levels=model.num_levels)
    bits = np.concatenate([bits for bits, _ in score(model, source, 4)])
    nats = -model.log_prob(samples).numpy().astype(np.float64)
    np.testing.assert_allclose(bits, bits_per_dim(nats, (4, 4, 1)), rtol=1e-5)


@pytest.mark.slow
def test_run_trains_on_values_as_they_are(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (40, 8, 8, 3), dtype=np.uint8)
    save(tmp_path / "a.npz", images, num_levels=2)
    small = {"field": "11x5", "num_levels": 2, "max_steps": 2}
    small_runs.run(str(tmp_path / "a.npz"), tmp_path / "run", **small)
    (bits,) = filter(None, small_runs.rows(tmp_path / "run", "test_bits_per_dim"))
    assert 0.5 < float(bits) < 3


@pytest.mark.parametrize("kind", ["npz", "folder"])
@pytest.mark.parametrize(
    "highest, num_levels", [(1, 2), (31, 32), (63, 64), (64, None)]
)
def test_images_that_look_quantized_are_reported(
    tmp_path, caplog, kind, highest, num_levels
):
    images = np.zeros((3, 4, 4, 1), np.uint8)
    images[1, 2, 3] = highest
    path = tmp_path / "images.npz"
    if kind == "npz":
        save(path, images)
    else:
        path = tmp_path / "images"
        (path / "test").mkdir(parents=True)
        for i, image in enumerate(images):
            png = tf.io.encode_png(image).numpy()
            (path / "test" / f"{i}.png").write_bytes(png)
        data.load("folder", str(path), "test")
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == (num_levels is not None)
    if found:
        assert f"no pixel value is above {highest} of 255" in found[0]
        assert found[0].endswith(f"an npz with num_levels={num_levels}.")


def test_images_that_say_their_num_levels_are_not_reported(tmp_path, caplog):
    save(tmp_path / "a.npz", np.ones((3, 4, 4, 1), np.uint8), num_levels=2)
    assert not caplog.records
