"""Evaluates a trained PixelCNN++: flags to a model, and its scores or its images."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes

from absl import app, flags, logging

import data
from pixel_cnn_pp import (
    checkpoint,
    drawing,
    evaluation,
    folders,
    openai_checkpoint,
)
from pixel_cnn_pp.command_line import errors_in_one_line, refuse_arguments
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
flags.DEFINE_integer(
    "num_samples",
    None,
    "Draw so many images, in place of scoring (with --output_json besides).",
    lower_bound=1,
    short_name="ns",
)
flags.DEFINE_integer(
    "complete_rows",
    None,
    "Keep so many rows of the first --max_images images (8 by default) and draw the "
    "rest, in place of scoring.",
    lower_bound=0,
)
flags.DEFINE_integer(
    "num_completions", 4, "How often each image is completed.", lower_bound=1
)
flags.DEFINE_string("output_dir", None, "Folder for the PNG and NPZ of what is drawn.")
flags.DEFINE_float("temperature", 1.0, "Of what is drawn; 1 is the model's.")
flags.DEFINE_integer("seed", 0, "What is drawn follows from it.", short_name="s")
FLAGS = flags.FLAGS


def main(argv):
    logging.set_verbosity(logging.WARNING)
    with errors_in_one_line():
        refuse_arguments(argv)
        if (FLAGS.save_dir is None) == (FLAGS.official_checkpoint is None):
            raise ValueError("give one of --save_dir and --official_checkpoint.")
        draws, completes = FLAGS.num_samples, FLAGS.complete_rows is not None
        scores = bool(FLAGS.output_json) or not (draws or completes)
        if draws or completes:
            if not FLAGS.output_dir:
                raise ValueError("--output_dir: give the folder for what is drawn.")
            folders.refuse_unwritable("output_dir", FLAGS.output_dir)
        if FLAGS.output_json:
            evaluation.refuse_unwritable(FLAGS.output_json)
        images = load_images() if scores or completes else None
        model = load_model(images)
        if images is not None:
            evaluation.refuse_unfit(model, images)
        if scores:
            evaluation.refuse_without_likelihood(model)
        if draws or completes:
            drawing.refuse_settings(model, FLAGS.temperature, FLAGS.seed)
        if completes:
            drawing.refuse_rows(model, FLAGS.complete_rows)

    settings = {"seed": (FLAGS.seed, 0), "temperature": FLAGS.temperature}
    if draws:
        path = os.path.join(FLAGS.output_dir, "samples")
        drawing.draw_samples(model, FLAGS.num_samples, path, **settings)
    if completes:
        drawing.draw_completions(
            model,
            images,
            FLAGS.max_images or 8,
            FLAGS.complete_rows,
            FLAGS.num_completions,
            os.path.join(FLAGS.output_dir, "completions"),
            **settings,
        )
    if scores:
        found = evaluation.scores(model, images, FLAGS.batch_size, FLAGS.max_images)
        print(
            f"{FLAGS.split} bits_per_dim = {found['bits_per_dim']:.4f} "
            f"({found['num_images']} images)"
        )
        if FLAGS.output_json:
            evaluation.write_json(FLAGS.output_json, found)


def load_images() -> data.Source:
    """The images that the flags name: by default those of the run."""
    if FLAGS.save_dir is not None:
        config = checkpoint.load_config(FLAGS.save_dir)
        asked = {name: getattr(config, name) for name in ("data_set", "data_dir")}
        asked["image_size"] = config.image_size
        num_labels = config.num_labels
    else:
        found = openai_checkpoint.infer(
            FLAGS.official_checkpoint, FLAGS.resnet_nonlinearity
        )
        asked = {"data_set": "cifar", "data_dir": "", "image_size": None}
        num_labels = found["num_labels"]
    if FLAGS.data_set:
        asked = {"data_set": FLAGS.data_set, "data_dir": "", "image_size": None}
    given = {name: FLAGS[name].value for name in asked}
    asked |= {name: value for name, value in given.items() if value is not None}
    return data.load(
        asked["data_set"],
        asked["data_dir"],
        FLAGS.split,
        labels=num_labels is not None,
        image_size=asked["image_size"],
    )


def load_model(images: data.Source | None):
    """The model that the flags name; an official one for images of that size."""
    if FLAGS.save_dir is not None:
        return checkpoint.load_model(FLAGS.save_dir, FLAGS.averaged)[0]
    side = FLAGS.image_size or 32
    return openai_checkpoint.load_model(
        FLAGS.official_checkpoint,
        FLAGS.resnet_nonlinearity,
        FLAGS.averaged,
        (side, side) if images is None else images.image_shape[:2],
    )


if __name__ == "__main__":
    app.run(main)
