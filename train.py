"""Trains a PixelCNN++: flags → Config → one run."""

import os

from absl import flags

import cli  # Before TensorFlow: it sets its log level.
import data
from pixel_cnn_pp import checkpoint, distribution, openai_checkpoint
from pixel_cnn_pp.config import (
    FIELDS,
    LIKELIHOODS,
    MODEL_SETTINGS,
    NO_FLAGS,
    NONLINEARITIES,
    PRECISIONS,
    RUN_SETTINGS,
    Config,
    ModelConfig,
)
from pixel_cnn_pp.training.preemption import (
    Diverged,
    ReadFailed,
    Stopped,
    StopSignals,
)
from pixel_cnn_pp.training.run import check_save_dir, prepare
from pixel_cnn_pp.training.step import set_graph_optimizer

# The flags of the official train.py, with its names, short forms and defaults, but for
# the two folders, which are its author's own, and --nr_gpu, 8 there.
cli.DEFINE_path(
    "data_dir",
    "",
    "Where the images are: for npz the file, for folder the folder with train/ and "
    "test/, for cifar the folder of the original archive or of tensorflow-datasets.",
    short_name="i",
)
cli.DEFINE_path(
    "save_dir",
    "save",
    "Folder of the run: checkpoints, samples, metrics.",
    short_name="o",
)
flags.DEFINE_enum(
    "data_set",
    "cifar",
    data.NAMES,
    "The images. shapes needs no download. cifar and cifar10 are one; imagenet and "
    "imagenet32 are the 32x32 set of van den Oord et al. (downsampled_imagenet), whose "
    "bits/dim do not compare with those of imagenet_resized.",
    short_name="d",
)
flags.DEFINE_integer(
    "save_interval", 20, "Epochs between checkpoints and samples.", short_name="t"
)
flags.DEFINE_bool("load_params", False, "Resume the run in --save_dir.", short_name="r")
flags.DEFINE_integer("nr_resnet", 5, "Residual blocks per stage.", short_name="q")
flags.DEFINE_integer("nr_filters", 160, "Filters of every layer.", short_name="n")
flags.DEFINE_integer(
    "nr_logistic_mix", 10, "Logistic components of the mixture.", short_name="m"
)
flags.DEFINE_enum(
    "resnet_nonlinearity",
    "concat_elu",
    NONLINEARITIES,
    "Nonlinearity of the residual blocks.",
    short_name="z",
)
flags.DEFINE_bool(
    "class_conditional", False, "Condition the model on the labels.", short_name="c"
)
flags.DEFINE_bool(
    "energy_distance",
    False,
    "Train with the energy distance instead of the likelihood.",
    short_name="ed",
)
flags.DEFINE_float("learning_rate", 0.001, "Base learning rate.", short_name="l")
flags.DEFINE_float(
    "lr_decay",
    0.999995,
    "Factor on the learning rate before every step.",
    short_name="e",
)
flags.DEFINE_integer("batch_size", 16, "Images per step on each GPU.", short_name="b")
flags.DEFINE_integer(
    "init_batch_size",
    16,
    "Images for the data-dependent initialisation.",
    short_name="u",
)
flags.DEFINE_float(
    "dropout_p", 0.5, "Share of activations that training drops.", short_name="p"
)
flags.DEFINE_integer("max_epochs", 5000, "Epochs in all.", short_name="x")
flags.DEFINE_integer(
    "nr_gpu",
    None,
    "GPUs to train on; by default all, or one CPU without a GPU.",
    short_name="g",
)
flags.DEFINE_integer(
    "worker_timeout", 600, "Seconds to wait for each other worker of TF_CONFIG."
)
flags.DEFINE_float(
    "polyak_decay", 0.9995, "Decay of the Polyak averages (EMA) per step."
)
flags.DEFINE_integer(
    "num_samples",
    1,
    "Batches (of all GPUs together) to sample every --save_interval epochs and at the "
    "end.",
    short_name="ns",
)
flags.DEFINE_integer("seed", 1, "Seed of everything random.", short_name="s")

# Flags of this port, the variants of the paper first.
flags.DEFINE_enum(
    "likelihood",
    "mix_logistic",
    LIKELIHOODS,
    "Distribution of a sub-pixel: the discretized mixture of logistics; a softmax over "
    "the pixel values; or the density of the mixture at dequantized images, an upper "
    "bound on the bits/dim.",
)
flags.DEFINE_bool(
    "short_cuts", True, "Skip connections from the downsampling to the upsampling path."
)
flags.DEFINE_enum(
    "field",
    None,
    FIELDS,
    "A network of one stage that sees at most so many columns of so many rows above, "
    "instead of the one with --nr_resnet blocks per stage.",
)
flags.DEFINE_integer(
    "nin_blocks",
    0,
    "With --field: 1x1 gated resnets between two larger ones; the paper has 3.",
)
flags.DEFINE_bool(
    "autoregressive_channels",
    False,
    "Let a channel depend on the pixel's earlier ones through gated resnets too.",
)
flags.DEFINE_integer(
    "max_steps", None, "End the run at this step; by default after --max_epochs."
)
flags.DEFINE_integer(
    "max_bad_steps",
    10,
    "End the run after so many steps in a row with a loss or gradients that are not "
    "finite; each is skipped and reported.",
)
flags.DEFINE_enum(
    "precision",
    "float32",
    PRECISIONS,
    "Of training steps. mixed_bfloat16 computes activations in bfloat16; parameters, "
    "EMA, weight norms, output layer and likelihood stay in float32, and so do test "
    "results and samples.",
)
flags.DEFINE_bool(
    "remat",
    False,
    "Recompute the activations inside residual blocks for the gradients: less memory, "
    "about a third more time.",
)
flags.DEFINE_integer(
    "accumulate",
    1,
    "Batches of --batch_size images that each GPU takes in turn in a step; their "
    "gradients are summed.",
)
flags.DEFINE_bool(
    "jit_compile",
    None,
    "Compile the whole training step of the network with XLA. By default on GPUs, "
    "unless they are too new for it; on CPUs only the optimizer, activations, gates "
    "and sampling. --nojit_compile does without XLA.",
)
flags.DEFINE_integer(
    "save_steps", 0, "Steps between additional checkpoints; 0 for none."
)
flags.DEFINE_integer("log_interval", 100, "Steps between rows of metrics.csv.")
flags.DEFINE_bool(
    "polyak_warmup",
    True,
    "Let the decay of the EMA grow: min(polyak_decay, (1 + t) / (10 + t)). "
    "--nopolyak_warmup is the official rule.",
)
flags.DEFINE_integer(
    "num_levels",
    256,
    "Number of pixel values: 8-bit images are quantized to fewer than 256; an npz with "
    "the key num_levels must have as many, and is used as it is.",
)
flags.DEFINE_integer(
    "image_size",
    None,
    "Side of the images in pixels, for shapes (32 by default) and folder (by default "
    "that of the files, if they have one size).",
)
flags.DEFINE_bool(
    "skip_bad_images",
    False,
    "For folder: skip files that cannot be read as images, and report them.",
)
cli.DEFINE_path(
    "official_checkpoint",
    None,
    "Start from this TF1 checkpoint of openai/pixel-cnn (the path up to .ckpt), with "
    "the architecture and the number of steps that it has.",
)
cli.define_tf32(True)
FLAGS = flags.FLAGS

# Settings of the model that an official checkpoint does not fix.
FREE = {"image_shape", "num_labels", "dropout_p", "num_levels"}


def take_from_checkpoint(settings: dict) -> None:
    """Sets the architecture to that of --official_checkpoint.

    Raises ValueError if a flag contradicts it.
    """
    given = FLAGS.resnet_nonlinearity if FLAGS["resnet_nonlinearity"].present else None
    inferred = openai_checkpoint.infer(FLAGS.official_checkpoint, given)
    official = vars(ModelConfig(**inferred))
    found = {name: official[name] for name in MODEL_SETTINGS - FREE}
    found["class_conditional"] = inferred["num_labels"] is not None
    for name, value in found.items():
        if FLAGS[name].present and FLAGS[name].value != value:
            raise ValueError(
                f"--{name}={FLAGS[name].value}: {FLAGS.official_checkpoint} has "
                f"{value}; leave the flag out."
            )
    settings |= found


def settings_from_flags() -> dict:
    """The settings of a Config that the flags give. ValueError for contradictions."""
    names = (MODEL_SETTINGS | RUN_SETTINGS).difference(NO_FLAGS)
    settings = {name: FLAGS[name].value for name in names}
    if FLAGS.official_checkpoint:
        take_from_checkpoint(settings)
    if FLAGS.field and FLAGS["nr_resnet"].present:
        raise ValueError(
            f"--nr_resnet={FLAGS.nr_resnet}: --field={FLAGS.field} decides on the "
            "number of blocks; leave one of the two out."
        )
    if FLAGS.data_dir:
        settings["data_dir"] = os.path.abspath(FLAGS.data_dir)
    return settings


def load_splits(config: Config) -> list[data.Source]:
    """The training and the test images."""
    return [
        data.load(
            FLAGS.data_set,
            FLAGS.data_dir,
            split,
            labels=config.class_conditional,
            image_size=FLAGS.image_size,
            skip_bad_images=FLAGS.skip_bad_images,
        )
        for split in ("train", "test")
    ]


def main(argv):
    with cli.errors_in_one_line((ValueError, OSError, Stopped)):
        cli.check_no_arguments(argv)
        settings = settings_from_flags()
        config = Config.of(**settings)
        # Before the strategy, which waits for the other workers.
        check_save_dir(FLAGS.save_dir, FLAGS.load_params)
        cli.set_devices(config.nr_gpu, config.tf32)
        with StopSignals():
            strategy = distribution.make_strategy(config.nr_gpu, config.worker_timeout)
        set_graph_optimizer()
        if FLAGS.load_params:
            saved = checkpoint.load_config(FLAGS.save_dir)
            config.check_same_run(saved, data_is_known=False)
        train_images, test_images = load_splits(config)
        settings["image_shape"] = train_images.image_shape
        settings["num_labels"] = train_images.num_labels
        loop = prepare(
            Config.of(**settings),
            train_images,
            test_images,
            FLAGS.save_dir,
            FLAGS.load_params,
            FLAGS.official_checkpoint,
            strategy,
        )
    with cli.errors_in_one_line(
        (OSError, Stopped, Diverged, ReadFailed, distribution.WorkerLost)
    ):
        loop.run()


if __name__ == "__main__":
    cli.run(main)
