"""Exports a trained PixelCNN++ as a SavedModel, which samples, completes and scores.

Examples:
  python export.py --save_dir=runs/quickstart --export_dir=served/1
  python export.py --official_checkpoint=params_cifar.ckpt --export_dir=served/1
"""

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
import data
from pixel_cnn_pp import export

cli.define_model_flags()
cli.DEFINE_path("export_dir", "New folder for the SavedModel, like MODEL/1; needed.")
flags.DEFINE_integer(
    "image_size",
    32,
    "Side of the images in pixels, for --official_checkpoint.",
    lower_bound=1,
    upper_bound=data.MAX_IMAGE_SIZE,
)
flags.DEFINE_bool(
    "jit_compile",
    True,
    "Sample with XLA; --nojit_compile for servers without it: slower.",
)
FLAGS = flags.FLAGS


def main(argv):
    with cli.errors_in_one_line():
        cli.check_model_flags()
        if not FLAGS.export_dir:
            raise ValueError("--export_dir: give a new folder for the SavedModel.")
        export.check_export_dir(FLAGS.export_dir)
        cli.set_devices(1, tf32=False)
        model = cli.model_from_flags((FLAGS.image_size, FLAGS.image_size))
    with cli.errors_in_one_line(OSError):
        export.export(model, FLAGS.export_dir, FLAGS.jit_compile)
    print(f"SavedModel: {FLAGS.export_dir}")


if __name__ == "__main__":
    cli.run(main)
