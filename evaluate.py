"""Evaluates a trained PixelCNN++: flags to a model, and its scores or its images."""

import dataclasses

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
import image_flags
from pixel_cnn_pp.config import PRECISIONS
from pixel_cnn_pp.evaluation.tasks import Tasks

cli.define_model_flags()
flags.adopt_module_key_flags(image_flags)
flags.DEFINE_integer(
    "max_images",
    None,
    "Take the first so many images; by default all, 8 for --complete_rows and "
    "--heatmap.",
    lower_bound=1,
)
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
flags.DEFINE_string(
    "scores_csv",
    None,
    "Write a row for each image to this file: its file name (of folder, from the "
    "folder of the split on) or number from 0, its label if it has one, its bits/dim. "
    "It is FILE.new until it is whole.",
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
    "Draw so many images, in place of scoring (with --output_json or --scores_csv "
    "besides). The PNG shows the first 100, a row for each label where there are any.",
    lower_bound=1,
    short_name="ns",
)
flags.DEFINE_list(
    "labels",
    None,
    "For --num_samples of a class-conditional model: labels that take turns, like "
    "0,1,2; by default all.",
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
flags.DEFINE_bool(
    "heatmap",
    False,
    "Show how many bits each pixel of the first --max_images images (8 by default) "
    "takes, all its channels together, in place of scoring.",
)
flags.DEFINE_float(
    "heatmap_max",
    None,
    "Bits per pixel at which the colours of --heatmap end, to compare several; by "
    "default what 99 % of the pixels shown stay below.",
)
flags.DEFINE_string(
    "output_dir",
    None,
    "Folder for the PNG and NPZ of what is drawn or shown; needed by --num_samples, "
    "--complete_rows and --heatmap.",
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
    "Above 0; below 1 what is drawn is more like the most probable; 1 is the model's.",
)
flags.DEFINE_integer("seed", 0, "What is drawn follows from it.", short_name="s")
flags.DEFINE_enum(
    "precision",
    "float32",
    PRECISIONS,
    "Of the network in scoring; mixed_bfloat16 computes its maps in bfloat16.",
)
flags.DEFINE_bool(
    "jit_compile",
    True,
    "In scoring, compile with XLA what stands between two convs; --nojit_compile "
    "scores without XLA. Drawing is compiled all the same.",
)
FLAGS = flags.FLAGS


def main(argv):
    with cli.errors_in_one_line():
        cli.check_no_arguments(argv)
        cli.check_model_flags()
        fields = dataclasses.fields(Tasks)
        tasks = Tasks(**{field.name: FLAGS[field.name].value for field in fields})
        tasks.refuse_unclear()
        images, size = None, (FLAGS.image_size or 32,) * 2
        if tasks.needs_images:
            images = image_flags.load_images(tasks.scores_csv is not None)
            size = images.image_shape[:2]
        model = cli.model_from_flags(size)
        model.set_precision(FLAGS.precision)
        model.set_fusion(FLAGS.jit_compile)
        tasks.refuse_unfit(model, images)
    with cli.errors_in_one_line(OSError):
        tasks.run(model, images)


if __name__ == "__main__":
    cli.run(main)
