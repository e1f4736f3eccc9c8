"""Scores images with a trained PixelCNN++: bits/dim, heat maps; also samples.

Examples:
  python evaluate.py --save_dir=runs/quickstart
  python evaluate.py -o runs/own -d folder -i ~/new_pictures --scores_csv=scores.csv
  python evaluate.py -o runs/quickstart --heatmap --output_dir=heatmaps
  python evaluate.py --official_checkpoint=params_cifar.ckpt -d cifar -i ~/cifar

sample.py samples and completes images by itself.

Flags by topic:
  model       --save_dir --official_checkpoint --resnet_nonlinearity --averaged
              --kernels
  images      --data_set --data_dir --split --max_images --image_size --test_share
              --tfds_split_test --skip_bad_images
  scores      --output_json --scores_csv --background_dir --dequantization_draws
              --batch_size --precision
  heat maps   --heatmap --heatmap_max
  samples     --num_samples --shard_images --labels --temperature --seed
  completions --complete_rows --inpaint_mask --num_completions
  output      --output_dir --scale
  devices     --nr_gpu --worker_timeout --jit_compile --tf32
"""

import functools

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
import task_flags
from pixel_cnn_pp.config import PRECISIONS
from pixel_cnn_pp.evaluation.tasks import Tasks

task_flag = functools.partial(cli.DEFINE_field, Tasks)
task_flags.define_flags(
    num_samples="Number of images to sample, as sample.py does, instead of scoring; "
    "with --output_json or --scores_csv as well as scoring. In train.py it is the "
    "number of batches.",
    output_dir="Folder for the PNG and NPZ of --num_samples, --complete_rows, "
    "--inpaint_mask and --heatmap, which need it.",
)
task_flag(
    "batch_size",
    "Images at a time on each GPU; results depend on it by rounding at most.",
    short_name="b",
    lower_bound=1,
)
cli.DEFINE_path(
    "output_json",
    "Write bits_per_dim, num_images and bits_per_dim_per_image to this file.",
)
cli.DEFINE_path(
    "scores_csv",
    "Write a row for each image to this file: its file name (of folder, relative to "
    "the folder of the split) or its number from 0, its label if it has one, its "
    "bits/dim. A name that begins with =, +, - or @ gets a ' in front, so that no "
    "spreadsheet runs it. The file is FILE.new until it is whole.",
)
cli.DEFINE_path(
    "background_dir",
    "Folder of a run with --mutation_rate on the same images, a background model: adds "
    "its bits/dim and log_likelihood_ratio, log p - log p_background in nats, to the "
    "scores, and subtracts its bits from those of --heatmap. A low ratio means OOD.",
)
task_flag(
    "dequantization_draws",
    "For --likelihood=mix_logistic_continuous: the upper bound on the bits/dim of an "
    "image is the mean over so many dequantizations; 8 by default.",
    lower_bound=1,
    upper_bound=1000,
)
task_flag(
    "heatmap",
    "Show the bits of each pixel, all its channels together, of the first --max_images "
    "images (8 by default), instead of scoring. Needs matplotlib: "
    "pip install -e '.[plots]'.",
)
task_flag(
    "heatmap_max",
    "Bits per pixel at which the colours of --heatmap end, so that several compare; by "
    "default 99 % of the pixels shown stay below it.",
)
flags.DEFINE_enum(
    "precision",
    "float32",
    PRECISIONS,
    "Of the network in scoring; mixed_bfloat16 computes activations in bfloat16.",
)
FLAGS = flags.FLAGS


def main(argv):
    task_flags.run_tasks(task_flags.tasks_from_flags(), FLAGS.precision)


if __name__ == "__main__":
    cli.run(main)
