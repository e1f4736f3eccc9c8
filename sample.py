"""Samples images from a trained PixelCNN++, or completes the lower parts of images.

Examples:
  python sample.py --save_dir=runs/quickstart
  python sample.py -o runs/quickstart --num_samples=64 --temperature=0.9 --seed=3
  python sample.py -o runs/cifar --labels=cat,dog --num_samples=32
  python sample.py -o runs/quickstart --complete_rows=8
  python sample.py -o runs/quickstart --inpaint_mask=mask.png

Flags by topic:
  model       --save_dir --official_checkpoint --resnet_nonlinearity --averaged
              --kernels
  samples     --num_samples --shard_images --labels --temperature --seed
  completions --complete_rows --inpaint_mask --num_completions, and of which
              images: --data_set --data_dir --split --max_images --image_size
              --test_share --tfds_split_test --skip_bad_images
  output      --output_dir --scale
  devices     --nr_gpu --worker_timeout --jit_compile --tf32
"""

import dataclasses
import os

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
import task_flags

NUM_SAMPLES, FOLDER = 16, "sampled"
task_flags.define_flags(
    num_samples=f"Number of images to sample; {NUM_SAMPLES} by default, none with "
    "--complete_rows or --inpaint_mask. The PNG shows the first 100; for a "
    "class-conditional model each label has a row. In train.py it is the number of "
    "batches.",
    output_dir="Folder for samples.png, samples.npz, completions.png and "
    f"completions.npz; by default {FOLDER} in --save_dir.",
)
FLAGS = flags.FLAGS


def main(argv):
    tasks = task_flags.tasks_from_flags()
    if tasks.num_samples is None and not tasks.completes:
        tasks = dataclasses.replace(tasks, num_samples=NUM_SAMPLES)
    if tasks.output_dir is None and FLAGS.save_dir is not None:
        folder = os.path.join(FLAGS.save_dir, FOLDER)
        tasks = dataclasses.replace(tasks, output_dir=folder)
    task_flags.run_tasks(tasks)


if __name__ == "__main__":
    cli.run(main)
