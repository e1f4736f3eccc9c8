"""Exports a trained PixelCNN++ as a SavedModel: flags to a model and a folder."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes

from absl import app, flags, logging

from pixel_cnn_pp import checkpoint, export, openai_checkpoint
from pixel_cnn_pp.command_line import errors_in_one_line, refuse_arguments
from pixel_cnn_pp.nn import NONLINEARITIES

flags.DEFINE_string("save_dir", None, "Folder of a run of train.py.", short_name="o")
flags.DEFINE_string(
    "official_checkpoint",
    None,
    "TF1 checkpoint of openai/pixel-cnn, the path up to .ckpt, in place of --save_dir.",
)
flags.DEFINE_string("export_dir", None, "New folder for the SavedModel.")
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
flags.DEFINE_integer(
    "image_size",
    32,
    "Side of the images in pixels, for --official_checkpoint.",
    lower_bound=1,
)
FLAGS = flags.FLAGS


def main(argv):
    logging.set_verbosity(logging.WARNING)
    with errors_in_one_line():
        refuse_arguments(argv)
        if (FLAGS.save_dir is None) == (FLAGS.official_checkpoint is None):
            raise ValueError("give one of --save_dir and --official_checkpoint.")
        if not FLAGS.export_dir:
            raise ValueError("--export_dir: give a new folder for the SavedModel.")
        export.refuse_unusable(FLAGS.export_dir)
        if FLAGS.save_dir is not None:
            model, _ = checkpoint.load_model(FLAGS.save_dir, FLAGS.averaged)
        else:
            model = openai_checkpoint.load_model(
                FLAGS.official_checkpoint,
                FLAGS.resnet_nonlinearity,
                FLAGS.averaged,
                (FLAGS.image_size, FLAGS.image_size),
            )
    export.export(model, FLAGS.export_dir)
    print(f"SavedModel: {FLAGS.export_dir}")


if __name__ == "__main__":
    app.run(main)
