"""Trains the official network with the official loss, Adam and Polyak averages.

After `git clone https://github.com/openai/pixel-cnn DIR`,
`python benchmarks/official_curve.py --checkout=DIR --data=FILE.npz -q 2 -n 32 -b 16
-u 100 -p 0` prints the test bits/dim by the raw parameters and by the Polyak averages
during training. The npz is one that train.py takes: images of 3 channels and 256
pixel values; labels are not used.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import cli  # noqa: F401  # Before TensorFlow: it sets its log level.

# isort: split
import numpy as np
import official
import report
import size_flags
import tensorflow as tf
from absl import app, flags

flags.DEFINE_string("data", None, "npz with train_images and test_images.")
flags.DEFINE_integer("steps", 3000, "Training steps.")
flags.DEFINE_integer("interval", 500, "Steps from one test to the next.")
flags.DEFINE_integer(
    "init_batch_size", 16, "Images for the initialisation.", short_name="u"
)
flags.DEFINE_float("learning_rate", 0.001, "Initial learning rate.", short_name="l")
flags.DEFINE_float("lr_decay", 0.999995, "Its factor per step.", short_name="e")
flags.DEFINE_integer("seed", 1, "Seed of the parameters and the order.", short_name="s")
flags.mark_flag_as_required("data")
for module in (official, report, size_flags):
    flags.adopt_module_key_flags(module)
FLAGS = flags.FLAGS


def batches(images: np.ndarray, rng):
    """Batches without end; each epoch in another order, its last images skipped."""
    while True:
        images = images[rng.permutation(len(images))]
        for start in range(0, len(images) - FLAGS.batch_size + 1, FLAGS.batch_size):
            yield images[start : start + FLAGS.batch_size]


def bits_per_dim(training: official.Training, images: np.ndarray) -> np.ndarray:
    """[2]: the mean over the images by the raw parameters and by the averages."""
    n = FLAGS.batch_size
    filled = np.concatenate([images, images[: -len(images) % n]])
    losses = [
        training.losses(filled[start : start + n]) for start in range(0, len(filled), n)
    ]
    nats = np.concatenate(losses, axis=1)[:, : len(images)].mean(axis=1)
    return nats / (np.prod(images.shape[1:]) * np.log(2))


def main(argv):
    with np.load(FLAGS.data) as file:
        train, test = (
            official.to_float(file[f"{split}_images"]) for split in ("train", "test")
        )
    rng = np.random.RandomState(FLAGS.seed)
    curve = []
    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(FLAGS.seed)
        training = official.Training(
            train.shape[1:], nr_resnet=FLAGS.nr_resnet, nr_filters=FLAGS.nr_filters
        )
        training.initialize(train[rng.permutation(len(train))[: FLAGS.init_batch_size]])
        rate = FLAGS.learning_rate
        for step, images in zip(
            range(1, FLAGS.steps + 1), batches(train, rng), strict=False
        ):
            rate *= FLAGS.lr_decay
            training.step(images, rate)
            if step % FLAGS.interval == 0:
                raw, averaged = bits_per_dim(training, test)
                curve.append({"step": step, "raw": raw, "averaged": averaged})
                report.row(
                    {"step": str(step), "raw": f"{raw:.4f}", "EMA": f"{averaged:.4f}"},
                    is_first=len(curve) == 1,
                )
    report.write(curve)


if __name__ == "__main__":
    app.run(main)
