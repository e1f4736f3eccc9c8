"""Flags that name a trained model, for the entry points that use one."""

from absl import flags

from pixel_cnn_pp import PixelCNNPP, checkpoint, openai_checkpoint
from pixel_cnn_pp.nonlinearities import NONLINEARITIES

flags.DEFINE_string(
    "save_dir",
    None,
    "Folder of a run of train.py, the model of which is used.",
    short_name="o",
)
flags.DEFINE_string(
    "official_checkpoint",
    None,
    "TF1 checkpoint of openai/pixel-cnn, the path up to .ckpt, in place of --save_dir.",
)
flags.DEFINE_bool(
    "averaged", True, "Use the averaged parameters; --noaveraged the raw ones."
)
flags.DEFINE_enum(
    "kernels",
    "float32",
    ["float32", "bfloat16"],
    "Type that the kernels are rounded to.",
)
flags.DEFINE_enum(
    "resnet_nonlinearity",
    None,
    list(NONLINEARITIES),
    "For --official_checkpoint: elu or relu, which its shapes do not tell.",
    short_name="z",
)
FLAGS = flags.FLAGS


def refuse_unclear() -> None:
    """Raises ValueError where the flags name no model, or two."""
    if (FLAGS.save_dir is None) == (FLAGS.official_checkpoint is None):
        raise ValueError("give one of --save_dir and --official_checkpoint.")


def load_model(image_size: tuple[int, int]) -> PixelCNNPP:
    """The model that the flags name; an official one for images of that size."""
    if FLAGS.save_dir is not None:
        model, _ = checkpoint.load_model(FLAGS.save_dir, FLAGS.averaged)
    else:
        model = openai_checkpoint.load_model(
            FLAGS.official_checkpoint,
            FLAGS.resnet_nonlinearity,
            FLAGS.averaged,
            image_size,
        )
    model.round_kernels(FLAGS.kernels)
    return model
