"""A small VQ-VAE in Keras, for which PixelCNN++ is the prior.

`python tools/vq_vae_prior.py --data=IMAGES.npz --output_dir=DIR` trains it on images,
28×28 for example, and writes their codes to DIR/codes.npz, which `train.py -d npz`
reads, the decoder to DIR/decoder.keras and a picture of reconstructions.
`python tools/vq_vae_prior.py --decode=SAMPLES.npz --output_dir=DIR` decodes codes that
`sample.py` sampled to DIR/decoded.png. Van den Oord et al. 2017, Neural Discrete
Representation Learning.
"""

import os
import pathlib
import sys
import zipfile

import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import cli  # Before TensorFlow: it sets its log level.

# isort: split
import keras
from keras import layers, ops

import data
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.evaluation.samples import tile_rows
from pixel_cnn_pp.files import check_folder_writable, open_atomic

cli.DEFINE_path("data", "An npz of images as train.py -d npz takes it.")
cli.DEFINE_path("decode", "A samples.npz that sample.py wrote.")
cli.DEFINE_path("output_dir", "Folder of the codes, the decoder and pictures.")
flags.DEFINE_integer("num_codes", 128, "Vectors in the codebook.", 2, 4096)
flags.DEFINE_integer("epochs", 3, "Passes over the training images.", 1)
flags.DEFINE_integer("seed", 1, "Seed of the weights and of the order of images.", 0)
FLAGS = flags.FLAGS

CODE_SIZE, FILTERS, BATCH_SIZE = 16, 64, 128
COMMITMENT = 0.25
CODES, DECODER = "codes.npz", "decoder.keras"
COLUMNS = 10  # Images in a row of a picture.
SCALE = 2  # Each pixel is SCALE×SCALE pixels of the PNG.


class VectorQuantizer(layers.Layer):
    """Each vector of [N, H, W, D] becomes the nearest one of the codebook.

    The gradient passes straight through. Adds the loss of codebook and commitment.
    """

    def __init__(self, num_codes: int, size: int, **kwargs):
        super().__init__(**kwargs)
        self.codebook = layers.Embedding(num_codes, size, "random_normal")
        self.codebook.build()
        self.built = True

    def codes(self, z):
        """Indices of the nearest vectors, int [N, H, W]."""
        vectors = self.codebook.embeddings  # [codes, D]
        distances = ops.sum(vectors**2, axis=-1) - 2 * ops.matmul(
            z, ops.transpose(vectors)
        )
        return ops.argmin(distances, axis=-1)

    def call(self, z):
        vectors = self.codebook(self.codes(z))
        self.add_loss(ops.mean((ops.stop_gradient(z) - vectors) ** 2))
        self.add_loss(COMMITMENT * ops.mean((z - ops.stop_gradient(vectors)) ** 2))
        return z + ops.stop_gradient(vectors - z)


def make_vq_vae(image_shape: tuple[int, int, int], num_codes: int):
    """Encoder [N, H, W, C] → [N, H/4, W/4, D], quantizer, decoder of vectors."""
    conv = {"padding": "same", "activation": "relu"}
    encoder = keras.Sequential(
        [
            keras.Input(image_shape),
            layers.Conv2D(FILTERS // 2, 4, 2, **conv),
            layers.Conv2D(FILTERS, 4, 2, **conv),
            layers.Conv2D(FILTERS, 3, **conv),
            layers.Conv2D(CODE_SIZE, 1),
            layers.BatchNormalization(center=False, scale=False),
        ]
    )
    decoder = keras.Sequential(
        [
            layers.Conv2D(FILTERS, 3, **conv),
            layers.Conv2DTranspose(FILTERS, 4, 2, **conv),
            layers.Conv2DTranspose(FILTERS // 2, 4, 2, **conv),
            layers.Conv2D(image_shape[-1], 3, padding="same", activation="sigmoid"),
        ]
    )
    return encoder, VectorQuantizer(num_codes, CODE_SIZE), decoder


def train(images: np.ndarray, num_codes: int, epochs: int):
    """Trains a VQ-VAE on images in [0, 1]; returns encoder, quantizer and decoder."""
    encoder, quantizer, decoder = make_vq_vae(images.shape[1:], num_codes)
    vq_vae = keras.Sequential([encoder, quantizer, decoder])
    variance = float(images.var())

    def relative_error(images, decoded):
        return ops.mean((images - decoded) ** 2) / variance

    vq_vae.compile("adam", loss=relative_error)
    vq_vae.fit(images, images, BATCH_SIZE, epochs, verbose=2)
    return encoder, quantizer, decoder


def encode(encoder, quantizer, images: np.ndarray) -> np.ndarray:
    """Codes, uint16 [N, H, W, 1], of images in [0, 1]."""
    vectors = encoder.predict(images, BATCH_SIZE, verbose=0)
    return np.asarray(quantizer.codes(vectors)).astype(np.uint16)[..., None]


def decode(decoder, codes: np.ndarray) -> np.ndarray:
    """Images, uint8 [N, H, W, C], of codes [N, H, W, 1]."""
    images = decoder.predict(codes[..., 0].astype(np.int32), BATCH_SIZE, verbose=0)
    return np.round(images * 255).astype(np.uint8)


def perplexity(codes: np.ndarray) -> float:
    """e to the power of the entropy of single codes: how many are in use."""
    _, counts = np.unique(codes, return_counts=True)
    p = counts / codes.size
    return float(np.exp(-np.sum(p * np.log(p))))


def write_picture(path: str, images: np.ndarray) -> None:
    """Writes a grid of images, uint8 [N, H, W, C], COLUMNS in a row."""
    grid = image_ops.tile(images, COLUMNS)
    image_ops.write_png(path, image_ops.enlarge(grid, SCALE))


def train_and_encode() -> None:
    """Writes the codes of the images of --data, the decoder, and reconstructions."""
    has_labels = data.has_labels("npz", FLAGS.data, "train")
    splits = {
        split: data.load("npz", FLAGS.data, split, labels=has_labels)
        for split in data.SPLITS
    }
    images = {
        split: source.images.numpy() / np.float32(source.num_levels - 1)
        for split, source in splits.items()
    }
    height, width, _ = splits["train"].image_shape
    if height % 4 or width % 4:
        raise ValueError(
            f"--data={FLAGS.data}: images of {height}×{width} pixels; give images "
            "whose sides are multiples of 4, for example 28×28."
        )
    if not np.ptp(images["train"]):
        raise ValueError(
            f"--data={FLAGS.data}: all training pixels have one value, so there is "
            "nothing to learn; give other images."
        )
    os.makedirs(FLAGS.output_dir, exist_ok=True)
    keras.utils.set_random_seed(FLAGS.seed)
    encoder, quantizer, decoder = train(images["train"], FLAGS.num_codes, FLAGS.epochs)
    code_decoder = keras.Sequential([quantizer.codebook, decoder])
    arrays = {"num_levels": FLAGS.num_codes}
    for split, source in splits.items():
        arrays[f"{split}_images"] = encode(encoder, quantizer, images[split])
        if has_labels:
            arrays[f"{split}_labels"] = source.labels.numpy()
            arrays["class_names"] = np.array(source.class_names)
    codes = arrays["test_images"]
    decoded = decode(code_decoder, codes)
    error = np.mean((images["test"] - decoded / np.float32(255)) ** 2)
    print(
        f"test images: mean squared error {error:.4f}, codes of perplexity "
        f"{perplexity(codes):.1f}"
    )
    code_decoder.save(os.path.join(FLAGS.output_dir, DECODER))
    path = os.path.join(FLAGS.output_dir, CODES)
    with open_atomic(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    print(f"codes {list(codes.shape[1:])}, num_levels={FLAGS.num_codes}: {path}")
    originals = np.round(images["test"][:COLUMNS] * 255).astype(np.uint8)
    path = os.path.join(FLAGS.output_dir, "reconstructions.png")
    write_picture(path, np.concatenate([originals, decoded[:COLUMNS]]))
    print(f"test images and their reconstructions: {path}")


def num_rows(labels: np.ndarray) -> int:
    """Length of the shortest list that gives these labels when it is repeated."""
    n = len(labels)
    return next(
        rows
        for rows in range(1, n + 1)
        if (labels == np.resize(labels[:rows], n)).all()
    )


def decode_samples() -> None:
    """Decodes the codes of --decode, a row of the picture for each label."""
    path = os.path.join(FLAGS.output_dir, DECODER)
    if not os.path.isfile(path):
        raise ValueError(
            f"--output_dir={FLAGS.output_dir}: has no {DECODER}; give the folder that "
            "--data wrote to."
        )
    if not zipfile.is_zipfile(FLAGS.decode):
        raise ValueError(f"--decode={FLAGS.decode}: is no samples.npz; give one.")
    decoder = keras.saving.load_model(path)
    num_codes, _ = decoder.layers[0].embeddings.shape
    with np.load(FLAGS.decode) as samples:
        if not {"images", "num_levels"} <= set(samples):
            raise ValueError(f"--decode={FLAGS.decode}: is no samples.npz; give one.")
        codes, labels = samples["images"], samples.get("labels", np.zeros(1))
        if samples["num_levels"] != num_codes:
            raise ValueError(
                f"--decode={FLAGS.decode}: has num_levels={samples['num_levels']}, and "
                f"the codebook {num_codes} codes; give samples of its prior."
            )
    decoded = decode(decoder, codes)
    grid = tile_rows(decoded, num_rows(labels))
    path = os.path.join(FLAGS.output_dir, "decoded.png")
    image_ops.write_png(path, image_ops.enlarge(grid, SCALE))
    print(f"{len(decoded)} samples: {path}")


def main(argv):
    with cli.errors_in_one_line():
        if not FLAGS.output_dir or (FLAGS.data is None) == (FLAGS.decode is None):
            raise ValueError("give --output_dir, and one of --data and --decode.")
        check_folder_writable("output_dir", FLAGS.output_dir)
        if FLAGS.data is not None:
            train_and_encode()
        else:
            decode_samples()


if __name__ == "__main__":
    cli.run(main)
