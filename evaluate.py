"""Evaluates a trained PixelCNN++: scores, samples, completions and heat maps."""

import dataclasses

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
import data
from pixel_cnn_pp import checkpoint, distribution, openai_checkpoint
from pixel_cnn_pp.config import PRECISIONS
from pixel_cnn_pp.evaluation.tasks import Tasks
from pixel_cnn_pp.images import quantized, relabel

cli.define_model_flags()
flags.DEFINE_enum(
    "data_set",
    None,
    data.NAMES,
    "The images; by default those of the run.",
    short_name="d",
)
cli.DEFINE_path(
    "data_dir", None, "Where the images are; by default as in the run.", short_name="i"
)
flags.DEFINE_integer(
    "image_size",
    None,
    "Side of the images in pixels, for shapes and folder; by default as in the run if "
    "its --data_set is used.",
)
flags.DEFINE_bool(
    "skip_bad_images",
    None,
    "For folder: skip files that cannot be read as images, and report them; by default "
    "as in the run.",
)
flags.DEFINE_enum("split", "test", ["train", "test"], "Which images.")
flags.DEFINE_integer(
    "max_images",
    None,
    "Take only the first so many images; by default all, or 8 for --complete_rows and "
    "--heatmap.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "batch_size",
    64,
    "Images at a time; no result depends on it.",
    lower_bound=1,
    short_name="b",
)
cli.DEFINE_path(
    "output_json",
    None,
    "Write bits_per_dim, num_images and bits_per_dim_per_image to this file.",
)
cli.DEFINE_path(
    "scores_csv",
    None,
    "Write a row for each image to this file: its file name (of folder, relative to "
    "the folder of the split) or its number from 0, its label if it has one, its "
    "bits/dim. A name that begins with =, +, - or @ gets a ' in front, so that no "
    "spreadsheet runs it. The file is FILE.new until it is whole.",
)
flags.DEFINE_integer(
    "dequantization_draws",
    None,
    "For --likelihood=mix_logistic_continuous: the upper bound on the bits/dim of an "
    "image is the mean over so many dequantizations; 8 by default.",
    lower_bound=1,
    upper_bound=1000,
)
flags.DEFINE_integer(
    "num_samples",
    None,
    "Sample so many images instead of scoring (as well as scoring with --output_json "
    "or --scores_csv). The PNG shows the first 100; for a class-conditional model each "
    "label has a row, and the order of the rows is printed.",
    lower_bound=1,
    short_name="ns",
)
flags.DEFINE_list(
    "labels",
    None,
    "For --num_samples of a class-conditional model: the labels to cycle through, for "
    "example 0,1,2; by default all.",
)
flags.DEFINE_integer(
    "complete_rows",
    None,
    "Keep so many rows of the first --max_images images (8 by default) and sample the "
    "rest, instead of scoring.",
    lower_bound=0,
)
flags.DEFINE_integer(
    "num_completions", 4, "How often each image is completed.", lower_bound=1
)
flags.DEFINE_bool(
    "heatmap",
    False,
    "Show the bits of each pixel, all its channels together, of the first --max_images "
    "images (8 by default), instead of scoring. Needs matplotlib: "
    "pip install -e '.[plots]'.",
)
flags.DEFINE_float(
    "heatmap_max",
    None,
    "Bits per pixel at which the colours of --heatmap end, so that several compare; by "
    "default 99 % of the pixels shown stay below it.",
)
cli.DEFINE_path(
    "output_dir",
    None,
    "Folder for the PNG and NPZ of --num_samples, --complete_rows and --heatmap, which "
    "need it.",
)
flags.DEFINE_integer(
    "scale",
    1,
    "Side in PNG pixels of each pixel of the images.",
    lower_bound=1,
    upper_bound=64,
)
flags.DEFINE_float(
    "temperature",
    1.0,
    "Of samples and completions, above 0: 1 samples from the model, less keeps closer "
    "to the most probable images.",
)
flags.DEFINE_list(
    "seed",
    "0",
    "Samples and completions are a function of it: one integer or two, 3 or 3,4, as "
    "seed=3 or seed=(3, 4) in Python.",
    short_name="s",
)
flags.DEFINE_enum(
    "precision",
    "float32",
    PRECISIONS,
    "Of the network in scoring; mixed_bfloat16 computes activations in bfloat16.",
)
flags.DEFINE_bool(
    "jit_compile",
    None,
    "Compile sampling, and in scoring activation, padding and gating, with XLA. By "
    "default unless the GPU is too new for it; --nojit_compile does without XLA.",
)
cli.define_tf32(False)
FLAGS = flags.FLAGS


def load_images(with_labels: bool) -> data.Source:
    """The images that the flags name, by default those of the run.

    They have labels if the model takes them or, with `with_labels`, if there are any.
    """
    no_run = {"data_dir": "", "image_size": None, "skip_bad_images": False}
    if FLAGS.save_dir is not None:
        config = checkpoint.load_config(FLAGS.save_dir)
        settings = {name: getattr(config, name) for name in ("data_set", *no_run)}
        num_labels = config.model.num_labels
    else:
        settings = {"data_set": "cifar", **no_run}
        num_labels = openai_checkpoint.infer(
            FLAGS.official_checkpoint, FLAGS.resnet_nonlinearity
        )["num_labels"]
    if FLAGS.data_set:
        settings = {"data_set": FLAGS.data_set, **no_run}
    given = {name: FLAGS[name].value for name in settings}
    settings |= {name: value for name, value in given.items() if value is not None}
    source = settings["data_set"], settings["data_dir"], FLAGS.split
    return data.load(
        *source,
        labels=num_labels is not None or (with_labels and data.has_labels(*source)),
        image_size=settings["image_size"],
        skip_bad_images=settings["skip_bad_images"],
    )


def main(argv):
    with cli.errors_in_one_line():
        cli.check_no_arguments(argv)
        cli.check_model_flags()
        fields = dataclasses.fields(Tasks)
        tasks = Tasks(**{field.name: FLAGS[field.name].value for field in fields})
        tasks.check_flags()
        cli.set_devices(1, FLAGS.tf32)
        images, size = None, (FLAGS.image_size or 32,) * 2
        if tasks.needs_images:
            images = load_images(tasks.scores_csv is not None)
            size = images.image_shape[:2]
        model = cli.model_from_flags(size)
        model.set_precision(FLAGS.precision)
        model.set_jit_compile(distribution.xla_scope(FLAGS.jit_compile) is not False)
        if images is not None and model.num_labels is not None:
            images = relabel(images, model.class_names)
        if images is not None:
            images = quantized(images, model.num_levels)
        tasks.check_model(model, images)
    with cli.errors_in_one_line((OSError, FloatingPointError)):
        tasks.run(model, images)


if __name__ == "__main__":
    cli.run(main)
