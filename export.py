"""Exports a trained PixelCNN++ as a SavedModel: flags to a model and a folder."""

from absl import flags

import quiet

quiet.import_tensorflow()  # Before anything below imports it.

import model_flags
from pixel_cnn_pp import export
from pixel_cnn_pp.command_line import errors_in_one_line, refuse_arguments, run

flags.adopt_module_key_flags(model_flags)  # --help shows them too
flags.DEFINE_string(
    "export_dir",
    None,
    "New folder for the SavedModel, like MODEL/1; needed.",
)
flags.DEFINE_integer(
    "image_size",
    32,
    "Side of the images in pixels, for --official_checkpoint.",
    lower_bound=1,
)
flags.DEFINE_bool(
    "jit_compile",
    True,
    "Let XLA compile the drawing when it first runs; --nojit_compile for servers "
    "without XLA: slower.",
)
FLAGS = flags.FLAGS


def main(argv):
    with errors_in_one_line():
        refuse_arguments(argv)
        model_flags.refuse_unclear()
        if not FLAGS.export_dir:
            raise ValueError("--export_dir: give a new folder for the SavedModel.")
        export.refuse_unusable(FLAGS.export_dir)
        model = model_flags.load_model((FLAGS.image_size, FLAGS.image_size))
    export.export(model, FLAGS.export_dir, FLAGS.jit_compile)
    print(f"SavedModel: {FLAGS.export_dir}")


if __name__ == "__main__":
    run(main)
