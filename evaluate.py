"""Evaluates a trained PixelCNN++: flags to a model and images to bits/dim."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes

from absl import app, flags

import data
from pixel_cnn_pp import checkpoint, evaluation, openai_checkpoint
from pixel_cnn_pp.command_line import errors_in_one_line, refuse_arguments
from pixel_cnn_pp.model import PixelCNNPP
from pixel_cnn_pp.nn import NONLINEARITIES

flags.DEFINE_string("save_dir", None, "Folder of a run of train.py.", short_name="o")
flags.DEFINE_string(
    "official_checkpoint",
    None,
    "TF1 checkpoint of openai/pixel-cnn, the path up to .ckpt, in place of --save_dir.",
)
flags.DEFINE_bool(
    "averaged", True, "Use the averaged parameters; --noaveraged the raw ones."
)
flags.DEFINE_enum(
    "resnet_nonlinearity",
    None,
    list(NONLINEARITIES),
    "For --official_checkpoint: elu or relu, which its shapes do not tell.",
    short_name="z",
)
flags.DEFINE_enum(
    "data_set",
    None,
    data.NAMES,
    "The images; by default those of the run.",
    short_name="d",
)
flags.DEFINE_string(
    "data_dir", None, "Where the images are; by default as in the run.", short_name="i"
)
flags.DEFINE_integer(
    "image_size", None, "Side of the images in pixels, for shapes and folder."
)
flags.DEFINE_enum("split", "test", ["train", "test"], "Which images.")
flags.DEFINE_integer("max_images", None, "Take the first so many.", lower_bound=1)
flags.DEFINE_integer(
    "batch_size",
    64,
    "Images at a time; no figure depends on it.",
    lower_bound=1,
    short_name="b",
)
flags.DEFINE_string(
    "output_json",
    None,
    "Write bits_per_dim, num_images and bits_per_dim_per_image to this file.",
)
FLAGS = flags.FLAGS


def main(argv):
    with errors_in_one_line():
        refuse_arguments(argv)
        if (FLAGS.save_dir is None) == (FLAGS.official_checkpoint is None):
            raise ValueError("give one of --save_dir and --official_checkpoint.")
        model, images = load_model_and_images()
        evaluation.refuse_unfit(model, images)
        if FLAGS.output_json:
            evaluation.refuse_unwritable(FLAGS.output_json)
    scores = evaluation.scores(model, images, FLAGS.batch_size, FLAGS.max_images)
    print(
        f"{FLAGS.split} bits_per_dim = {scores['bits_per_dim']:.4f} "
        f"({scores['num_images']} images)"
    )
    if FLAGS.output_json:
        evaluation.write_json(FLAGS.output_json, scores)


def load_model_and_images():
    """The model and the images that the flags name."""
    if FLAGS.save_dir is not None:
        model, config = checkpoint.load_model(FLAGS.save_dir, FLAGS.averaged)
        asked = {
            "data_set": config.data_set,
            "data_dir": config.data_dir,
            "image_size": config.image_size,
        }
        if FLAGS.data_set:
            asked = {"data_set": FLAGS.data_set, "data_dir": "", "image_size": None}
        num_labels = config.num_labels
    else:
        found = openai_checkpoint.infer(
            FLAGS.official_checkpoint, FLAGS.resnet_nonlinearity
        )
        asked = {"data_set": "cifar", "data_dir": "", "image_size": None}
        num_labels = found["num_labels"]
    flags_given = {name: FLAGS[name].value for name in asked}
    asked |= {name: v for name, v in flags_given.items() if v is not None}
    images = data.load(
        asked["data_set"],
        asked["data_dir"],
        FLAGS.split,
        labels=num_labels is not None,
        image_size=asked["image_size"],
    )
    if FLAGS.official_checkpoint is not None:
        model = PixelCNNPP(images.image_shape, **found)
        openai_checkpoint.load(model, FLAGS.official_checkpoint, FLAGS.averaged)
    return model, images


if __name__ == "__main__":
    app.run(main)
