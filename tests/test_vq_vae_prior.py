"""tools/vq_vae_prior.py: the quantizer by hand, and the two commands."""

import functools

import command_lines
import keras
import numpy as np
import pytest
import tensorflow as tf

import data

SCRIPT = "tools/vq_vae_prior.py"
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 12, 1), np.uint8)


@pytest.fixture
def tool():
    return command_lines.entry_point(SCRIPT).module


def test_quantizer_takes_the_nearest_vectors_and_passes_gradients_through(tool):
    quantizer = tool.VectorQuantizer(5, 3)
    rng = np.random.default_rng(1)
    vectors, z = rng.normal(size=(5, 3)), rng.normal(size=(2, 4, 4, 3))
    quantizer.codebook.embeddings.assign(vectors)
    distances = np.sum((z[..., None, :] - vectors) ** 2, axis=-1)
    nearest = np.argmin(distances, axis=-1)
    z32, above = tf.constant(z, tf.float32), rng.normal(size=z.shape)
    np.testing.assert_array_equal(quantizer.codes(z32), nearest)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z32)
        found = quantizer(z32)
        loss = tf.reduce_sum(found * tf.cast(above, tf.float32))
        of_codebook, of_encoder = quantizer.losses
    np.testing.assert_allclose(found, vectors[nearest], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, z32), above, rtol=1e-5)
    error = np.mean((z - vectors[nearest]) ** 2)
    np.testing.assert_allclose([of_codebook, of_encoder], [error, error / 4], rtol=1e-5)
    assert tape.gradient(of_codebook, z32) is None
    codebook = quantizer.codebook.embeddings.value
    assert tape.gradient(of_encoder, codebook) is None


def test_perplexity_is_the_number_of_codes_used_alike(tool):
    assert tool.perplexity(np.array([[3, 3], [9, 9]])) == pytest.approx(2)
    # ¾ and ¼: (4/3)^(3/4) · 4^(1/4).
    skewed = (4 / 3) ** 0.75 * 4**0.25
    assert tool.perplexity(np.array([1, 1, 1, 0])) == pytest.approx(skewed)


@pytest.mark.slow
def test_codes_are_written_for_train_py_and_samples_are_decoded(tool, tmp_path):
    labels = {f"{split}_labels": np.arange(12) % 3 for split in data.SPLITS}
    images = {f"{split}_images": IMAGES for split in data.SPLITS}
    np.savez(tmp_path / "images.npz", **images, **labels, class_names=["a", "b", "c"])
    run = functools.partial(command_lines.run, SCRIPT)
    done = run(
        "--data=images.npz --output_dir=out --num_codes=300 --epochs=1", tmp_path
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    out = tmp_path / "out"
    codes = data.load("npz", str(out / "codes.npz"), "test", labels=True)
    assert (codes.num_levels, codes.image_shape) == (300, (2, 3, 1))
    assert codes.class_names == ("a", "b", "c")
    assert codes.labels.numpy().tolist() == labels["test_labels"].tolist()
    np.savez(tmp_path / "samples.npz", images=codes.images, num_levels=300)
    done = run("--decode=samples.npz --output_dir=out", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "12 samples: out/decoded.png\n"
    np.savez(tmp_path / "samples.npz", images=codes.images, num_levels=256)
    failed = run("--decode=samples.npz --output_dir=out", tmp_path)
    nothing = run("--decode=samples.npz --output_dir=.", tmp_path)
    assert "has num_levels=256, and the codebook 300 codes" in failed.stderr
    assert "has no decoder.keras" in nothing.stderr
    decoder = keras.saving.load_model(out / "decoder.keras")
    expected = np.round(255 * decoder(codes.images[..., 0]).numpy())
    picture = tf.io.decode_png((out / "decoded.png").read_bytes()).numpy()
    # One row, each pixel twice, a border of one.
    assert picture.shape == (2 * (8 + 2), 2 * (12 * 13 + 1), 1)
    first = picture[2:18:2, 2:26:2].astype(float)
    np.testing.assert_allclose(first, expected[0], atol=1)


@pytest.mark.parametrize(
    "labels, rows",
    [([0], 1), ([2, 2, 2], 1), ([0, 1, 2, 0, 1], 3), ([0, 1, 0, 0, 1, 0, 0], 3)],
)
def test_rows_of_a_picture_are_the_labels_that_were_cycled_through(tool, labels, rows):
    assert tool.num_rows(np.array(labels)) == rows


def test_images_of_odd_sides_and_of_one_value_are_rejected(tmp_path):
    for name, images in (("images", IMAGES[:, :6]), ("grey", 0 * IMAGES + 7)):
        arrays = {f"{split}_images": images for split in data.SPLITS}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    run = functools.partial(command_lines.run, SCRIPT)
    done = run("--data=images.npz --output_dir=out", tmp_path)
    grey = run("--data=grey.npz --output_dir=out", tmp_path)
    assert "grey.npz: all training pixels have one value" in grey.stderr
    assert not (tmp_path / "out").exists()
    neither = run("--output_dir=out", tmp_path)
    assert done.stderr == (
        "error: --data=images.npz: images of 6×12 pixels; give images whose sides are "
        "multiples of 4, for example 28×28.\n"
    )
    assert neither.stderr == (
        "error: give --output_dir, and one of --data and --decode.\n"
    )
