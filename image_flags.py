"""Flags that name the images that a trained model is asked about, and those images."""

from absl import flags

import data
from pixel_cnn_pp import checkpoint, openai_checkpoint

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
    "image_size",
    None,
    "Side of the images in pixels, for shapes and folder; as in the run where its "
    "--data_set is used.",
)
flags.DEFINE_bool(
    "skip_bad_images",
    None,
    "For folder: leave out files that cannot be read as images, and report them; by "
    "default as in the run.",
)
flags.DEFINE_enum("split", "test", ["train", "test"], "Which images.")
FLAGS = flags.FLAGS


def load_images(with_labels: bool) -> data.Source:
    """The images that the flags name: by default those of the run.

    They have labels where the model takes them and, `with_labels`, where there are any.
    """
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
    where = asked["data_set"], asked["data_dir"], FLAGS.split
    return data.load(
        *where,
        labels=num_labels is not None or (with_labels and data.has_labels(*where)),
        image_size=asked["image_size"],
        skip_bad_images=asked["skip_bad_images"],
    )
