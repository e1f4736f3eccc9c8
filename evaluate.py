"""Evaluates a trained PixelCNN++: flags to a model, and its scores or its images."""

import os

from absl import flags

import quiet

quiet.import_tensorflow()  # Before anything below imports it.

import data
import model_flags
from pixel_cnn_pp import (
    checkpoint,
    drawing,
    evaluation,
    folders,
    openai_checkpoint,
)
from pixel_cnn_pp.command_line import errors_in_one_line, refuse_arguments, run
from pixel_cnn_pp.progress import ProgressLine

flags.adopt_module_key_flags(model_flags)  # --help shows them too
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
flags.DEFINE_bool(
    "skip_bad_images",
    None,
    "For folder: leave out files that cannot be read as images, and report them; by "
    "default as in the run.",
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
    "dequantization_draws",
    None,
    "For --likelihood=mix_logistic_continuous: dequantizations of each image that the "
    "upper bound on its bits/dim is the mean of; 8 by default.",
    lower_bound=1,
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
    with errors_in_one_line():
        refuse_arguments(argv)
        model_flags.refuse_unclear()
        draws, completes = FLAGS.num_samples, FLAGS.complete_rows is not None
        scores = bool(FLAGS.output_json) or not (draws or completes)
        if draws or completes:
            if not FLAGS.output_dir:
                raise ValueError("--output_dir: give the folder for what is drawn.")
            folders.refuse_unwritable("output_dir", FLAGS.output_dir)
        if FLAGS.output_json:
            evaluation.refuse_unwritable(FLAGS.output_json)
        images = load_images() if scores or completes else None
        side = FLAGS.image_size or 32
        size = (side, side) if images is None else images.image_shape[:2]
        model = model_flags.load_model(size)
        if images is not None:
            evaluation.refuse_unfit(model, images)
        if FLAGS.dequantization_draws and not scores:
            raise ValueError(
                f"--dequantization_draws={FLAGS.dequantization_draws}: nothing is "
                "scored; leave the flag out, or give --output_json."
            )
        if scores:
            evaluation.refuse_without_likelihood(model)
            draws_of_bound = evaluation.set_dequantization_draws(
                model, FLAGS.dequantization_draws
            )
        if draws or completes:
            drawing.refuse_settings(model, FLAGS.temperature, FLAGS.seed)
        if completes:
            drawing.refuse_rows(model, FLAGS.complete_rows)

    line = ProgressLine()
    settings = {
        "seed": (FLAGS.seed, 0),
        "temperature": FLAGS.temperature,
        "progress": lambda done, n: line.show(f"drawn {done}/{n}"),
    }
    if draws:
        path = os.path.join(FLAGS.output_dir, "samples")
        drawing.draw_samples(model, FLAGS.num_samples, path, **settings)
        line.keep(f"{FLAGS.num_samples} samples: {path}.png, {path}.npz")
    if completes:
        path = os.path.join(FLAGS.output_dir, "completions")
        n = drawing.draw_completions(
            model,
            images,
            FLAGS.max_images or 8,
            FLAGS.complete_rows,
            FLAGS.num_completions,
            path,
            **settings,
        )
        line.keep(f"{n} completed images: {path}.png, {path}.npz")
    if scores:
        found = evaluation.scores(model, images, FLAGS.batch_size, FLAGS.max_images)
        note = f"{found['num_images']} images"
        if draws_of_bound:
            note += "; estimate of an upper bound, mean of "
            note += f"{draws_of_bound} dequantizations"
        print(f"{FLAGS.split} bits_per_dim = {found['bits_per_dim']:.4f} ({note})")
        if FLAGS.output_json:
            evaluation.write_json(FLAGS.output_json, found)


def load_images() -> data.Source:
    """The images that the flags name: by default those of the run."""
    without_run = {"data_dir": "", "image_size": None, "skip_bad_images": False}
    if FLAGS.save_dir is not None:
        config = checkpoint.load_config(FLAGS.save_dir)
        names = ("data_set", "data_dir", "image_size", "skip_bad_images")
        asked = {name: getattr(config, name) for name in names}
        num_labels = config.num_labels
    else:
        found = openai_checkpoint.infer(
            FLAGS.official_checkpoint, FLAGS.resnet_nonlinearity
        )
        asked = {"data_set": "cifar", **without_run}
        num_labels = found["num_labels"]
    if FLAGS.data_set:
        asked = {"data_set": FLAGS.data_set, **without_run}
    given = {name: FLAGS[name].value for name in asked}
    asked |= {name: value for name, value in given.items() if value is not None}
    return data.load(
        asked["data_set"],
        asked["data_dir"],
        FLAGS.split,
        labels=num_labels is not None,
        image_size=asked["image_size"],
        skip_bad_images=asked["skip_bad_images"],
    )


if __name__ == "__main__":
    run(main)
