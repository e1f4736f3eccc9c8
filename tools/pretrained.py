"""Makes a small folder of a run, with its EMA model alone, to publish.

`python tools/pretrained.py --save_dir=RUN --output_dir=DIR` writes config.json and one
checkpoint of the EMA parameters, in a quarter of the bytes. evaluate.py and export.py
take the folder as their --save_dir, and `checkpoint.load_model` loads it. Its training
cannot be resumed.
"""

import dataclasses
import os
import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import cli  # Before TensorFlow: it sets its log level.
from pixel_cnn_pp import checkpoint
from pixel_cnn_pp.files import check_folder_writable

cli.DEFINE_path("save_dir", "Folder of a run of train.py.", "o")
cli.DEFINE_path("output_dir", "New folder for the model.")
flags.DEFINE_list(
    "class_names",
    None,
    "Names of the classes in the order of their labels, for example cat,dog; by "
    "default those of the run.",
)
FLAGS = flags.FLAGS


def main(argv):
    with cli.errors_in_one_line():
        if not (FLAGS.save_dir and FLAGS.output_dir):
            raise ValueError("give --save_dir and --output_dir.")
        if os.path.exists(FLAGS.output_dir):
            raise ValueError(f"--output_dir={FLAGS.output_dir}: exists; give another.")
        check_folder_writable("output_dir", FLAGS.output_dir)
        model, config = checkpoint.load_model(FLAGS.save_dir)
        ema_parameters = {"averages": model.tf_variables()}
        # Its step may not be the newest, whose checkpoint may be damaged.
        step = checkpoint.read_newest(FLAGS.save_dir, ema_parameters, config.run_id)
        names = tuple(FLAGS.class_names or ()) or config.class_names
        if len(names or ()) != (model.num_labels or 0):
            raise ValueError(
                f"--class_names={','.join(names or ())}: the model has "
                f"{model.num_labels or 'no'} classes; give as many names."
            )
        if names and not (len(set(names)) == len(names) and all(names)):
            raise ValueError(
                f"--class_names={','.join(names)}: must be different names, each of a "
                "letter or more."
            )
        # The path of the images has no meaning elsewhere.
        config = dataclasses.replace(config, class_names=names, data_dir="")
        os.makedirs(os.path.join(FLAGS.output_dir, checkpoint.FOLDER))
        config.save(os.path.join(FLAGS.output_dir, checkpoint.CONFIG))
        checkpoint.write(FLAGS.output_dir, step, ema_parameters)
    print(f"model after step {step}: {FLAGS.output_dir}")


if __name__ == "__main__":
    cli.run(main)
