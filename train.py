"""Trains a PixelCNN++ and writes the run to --save_dir.

Examples:
  python train.py --flagfile=configs/quickstart.cfg --save_dir=runs/quickstart
  python train.py -d cifar -i ~/cifar -o runs/cifar --nr_gpu=8
  python train.py -d fashion_mnist -c -o runs/clothes
  python train.py -d folder -i ~/pictures --image_size=32 --test_share=0.1 -o runs/own
  python train.py --resume --save_dir=runs/cifar --max_steps=200000

--resume takes every setting that the command line omits from the run's
config.json. Flags with a short form are those of the official train.py, with its
defaults; --version prints the version.

Flags by topic:
  images        --data_set --data_dir --image_size --test_share --tfds_split_test
                --validation_share --skip_bad_images --num_levels
                --embedding_size --class_conditional
  model         --nr_resnet --nr_filters --nr_logistic_mix --resnet_nonlinearity
                --dropout_p
  variants      --likelihood --energy_distance --short_cuts --field --nin_blocks
                --autoregressive_channels
  optimization  --learning_rate --lr_decay --batch_size --accumulate
                --init_batch_size --polyak_decay --polyak_warmup --seed
  background    --mutation_rate --weight_decay
  length        --max_epochs --max_steps --max_bad_steps
  speed         --precision --remat --jit_compile --tf32
  devices       --nr_gpu --worker_timeout
  output        --save_dir --save_interval --save_steps --save_minutes
                --log_interval --num_samples
  start         --load_params --resume --official_checkpoint
"""

import functools
import os
from shlex import quote

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
from pixel_cnn_pp.training.metrics import say
from pixel_cnn_pp.training.preemption import Diverged, ReadFailed, StopSignals
from pixel_cnn_pp.training.resume import check_same_run
from pixel_cnn_pp.training.run import check_save_dir, prepare
from pixel_cnn_pp.training.step import set_graph_optimizer

# Types and defaults of the flags are those of the fields. Names, short forms and
# defaults of the official train.py are kept, but for the two folders, which are its
# author's own, and --nr_gpu, 8 there. To add a flag: a field in config.py, its rule in
# RULES, a call below and its name in the list above.
model_flag = functools.partial(cli.DEFINE_field, ModelConfig)
run_flag = functools.partial(cli.DEFINE_field, Config)

# Images.
cli.DEFINE_data_set(
    Config.data_set,
    "The images. shapes needs no download. cifar and cifar10 are one; imagenet and "
    "imagenet32 are the 32x32 set of van den Oord et al. (downsampled_imagenet), whose "
    "bits/dim do not compare with those of imagenet_resized. tfds:NAME, such as "
    "tfds:emnist/letters, is any image data set of tensorflow-datasets; mnist, "
    "fashion_mnist, svhn_cropped and cifar100 are some by their own names.",
)
cli.DEFINE_path(
    "data_dir",
    "Where the images are: for npz the file; for folder the folder with train/ and "
    "test/, or with images and --test_share; for cifar the folder of the original "
    "archive or of tensorflow-datasets; for sets of tensorflow-datasets the folder it "
    "keeps them in, by default ~/tensorflow_datasets.",
    short_name="i",
)
run_flag(
    "image_size",
    "Side of the images in pixels, for shapes (32 by default), folder and sets of "
    "tensorflow-datasets (by default their own, if all have one size).",
)
run_flag(
    "tfds_split_test",
    "For sets of tensorflow-datasets: their split to test on; test by default. A part "
    "of train, for example 'train[90%:]', is not trained on.",
)
run_flag(
    "test_share",
    "For a folder of images without train/ and test/: hold out this share of them for "
    "the test, for example 0.1; their file names decide which.",
)
run_flag(
    "validation_share",
    "Keep this share of the training images apart, for example 0.05, chosen by --seed; "
    "after each epoch these are scored in place of the test images, in the column "
    "validation_bits_per_dim. Training then never reads the test images; evaluate.py "
    "scores them, and with --split=validation these. 0 scores the test images.",
)
run_flag(
    "skip_bad_images",
    "For folder: skip files that cannot be read as images, and report them.",
)
model_flag(
    "num_levels",
    "Number of pixel values: 8-bit images are quantized to fewer than 256; an npz with "
    "the key num_levels must have as many, and is used as it is.",
)
model_flag(
    "embedding_size",
    "Take the values for codes without an order, for example of a VQ-VAE: each enters "
    "the network as a learned vector of this length, for example 64. With it "
    "--num_levels is up to 4096; needs --likelihood=softmax.",
)
run_flag("class_conditional", "Condition the model on the labels.", short_name="c")

# Model.
model_flag("nr_resnet", "Residual blocks per stage.", short_name="q")
model_flag("nr_filters", "Filters of every layer.", short_name="n")
model_flag("nr_logistic_mix", "Logistic components of the mixture.", short_name="m")
model_flag(
    "resnet_nonlinearity",
    "Nonlinearity of the residual blocks.",
    short_name="z",
    enum_values=NONLINEARITIES,
)
model_flag("dropout_p", "Dropout probability.", short_name="p")

# Variants of the paper.
model_flag(
    "likelihood",
    "Distribution of a sub-pixel: the discretized mixture of logistics; a softmax over "
    "the pixel values; or the density of the mixture at dequantized images, an upper "
    "bound on the bits/dim.",
    enum_values=LIKELIHOODS,
)
model_flag(
    "energy_distance",
    "Train by the energy distance, not the likelihood.",
    short_name="ed",
)
model_flag(
    "short_cuts", "Skip connections from the downsampling to the upsampling path."
)
model_flag(
    "field",
    "Receptive field, columns x rows above, of a network of one stage in place of the "
    "one with --nr_resnet blocks per stage.",
    enum_values=FIELDS,
)
model_flag(
    "nin_blocks",
    "With --field: 1x1 gated resnets between two larger ones; the paper has 3.",
)
model_flag(
    "autoregressive_channels",
    "Let a channel depend on the pixel's earlier ones through gated resnets too.",
)

# Optimization.
run_flag("learning_rate", "Initial learning rate.", short_name="l")
run_flag("lr_decay", "Decay of the learning rate: its factor per step.", short_name="e")
run_flag("batch_size", "Images per step on each GPU.", short_name="b")
run_flag(
    "accumulate",
    "Batches of --batch_size images that each GPU takes in turn in a step; their "
    "gradients are summed.",
)
run_flag(
    "init_batch_size", "Images for the data-dependent initialisation.", short_name="u"
)
run_flag("polyak_decay", "Decay of the Polyak averages (EMA) per step.")
run_flag(
    "polyak_warmup",
    "Let the decay of the EMA grow: min(polyak_decay, (1 + t) / (10 + t)). "
    "--nopolyak_warmup is the official rule.",
)
run_flag("seed", "Seed of all randomness.", short_name="s")

# Background model of the likelihood ratio.
run_flag(
    "mutation_rate",
    "Replace each sub-pixel of the training images with this probability, for example "
    "0.3, by a uniform pixel value, anew in each step: a background model for "
    "--background_dir of evaluate.py. Other images stay as they are.",
)
run_flag(
    "weight_decay",
    "L2 penalty: adds this factor times the sum of the squares of all weights of the "
    "normalized kernels to the mean loss of an image in nats; not to the metrics.",
)

# Length.
run_flag("max_epochs", "Total number of epochs.", short_name="x")
run_flag("max_steps", "End the run at this step; by default after --max_epochs.")
run_flag(
    "max_bad_steps",
    "Number of consecutive steps with a loss or gradients that are not finite after "
    "which the run ends; each of them is skipped and reported.",
)

# Speed and devices.
run_flag(
    "precision",
    "Of training steps. mixed_bfloat16 computes activations in bfloat16; parameters, "
    "EMA, weight norms, output layer and likelihood stay in float32, and so do test "
    "results and samples.",
    enum_values=PRECISIONS,
)
run_flag(
    "remat",
    "Recompute the activations inside residual blocks for the gradients: less memory, "
    "about a third more time.",
)
run_flag(
    "jit_compile",
    "Compile the whole training step of the network with XLA. By default on GPUs, "
    "unless they are too new for it; on CPUs only the optimizer, activations, gates "
    "and sampling. --nojit_compile does without XLA.",
)
cli.define_tf32(Config.tf32)
run_flag(
    "nr_gpu",
    "GPUs to train on; by default all, or one CPU without a GPU.",
    short_name="g",
)
run_flag("worker_timeout", "Seconds to wait for each other worker of TF_CONFIG.")

# Output.
cli.DEFINE_path(
    "save_dir", "Folder of the run: checkpoints, samples, metrics.", "o", default="save"
)
run_flag("save_interval", "Epochs between checkpoints and samples.", short_name="t")
run_flag("save_steps", "Steps between additional checkpoints; 0 for none.")
run_flag(
    "save_minutes",
    "Minutes after which a checkpoint is written if none was; 0 for none.",
)
run_flag("log_interval", "Steps between rows of metrics.csv.")
run_flag(
    "num_samples",
    "Batches of --batch_size images on each GPU to sample every --save_interval epochs "
    "and at the end. In evaluate.py and sample.py it is the number of images.",
    short_name="ns",
)

# Start.
flags.DEFINE_bool("load_params", False, "Resume the run in --save_dir.", short_name="r")
flags.DEFINE_alias("resume", "load_params")
cli.DEFINE_path(
    "official_checkpoint",
    "Start from this TF1 checkpoint of openai/pixel-cnn (the path up to .ckpt), with "
    "the architecture and the number of steps that it has.",
)
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
    architecture = {name: official[name] for name in MODEL_SETTINGS - FREE}
    architecture["class_conditional"] = inferred["num_labels"] is not None
    for name, value in architecture.items():
        if FLAGS[name].present and FLAGS[name].value != value:
            raise ValueError(
                f"--{name}={FLAGS[name].value}: {FLAGS.official_checkpoint} has "
                f"{value}; remove the flag."
            )
    settings |= architecture


def settings_from_flags(saved: Config | None = None) -> dict:
    """The settings of a Config that the flags give, and where they are omitted those
    of the run that is resumed. ValueError for contradictions."""
    names = (MODEL_SETTINGS | RUN_SETTINGS).difference(NO_FLAGS)
    settings = {name: FLAGS[name].value for name in names}
    settings["data_dir"] = settings["data_dir"] or ""
    for name in ("data_dir", "official_checkpoint"):
        if settings[name]:
            settings[name] = os.path.abspath(settings[name])
    if saved is not None:
        omitted = {name for name in names if not FLAGS[name].present}
        settings |= {name: saved.settings()[name] for name in omitted}
    if FLAGS.official_checkpoint:
        take_from_checkpoint(settings)
    if FLAGS.field:
        why = f"with --field={FLAGS.field}; remove one of the two"
        cli.check_unused("nr_resnet", why)
    if settings["likelihood"] == "softmax":
        why = "with --likelihood=softmax; remove one of the two"
        cli.check_unused("nr_logistic_mix", why)
    return settings


def load_splits(config: Config) -> tuple[data.Source, data.Source]:
    """The training images, and those to score after each epoch: the validation images
    where some are held out, else the test images."""
    options = {name: getattr(config, name) for name in cli.LOAD_OPTIONS}
    options["labels"] = config.class_conditional
    data_dir = FLAGS.data_dir or config.data_dir
    load = functools.partial(data.load, config.data_set, data_dir, **options)
    train = load("train")
    if config.validation_share:
        return data.divide(train, config.validation_share, config.seed)
    return train, load("test")


def main(argv):
    with cli.errors_in_one_line():
        # What can fail comes before the strategy, which waits for the other workers.
        check_save_dir(FLAGS.save_dir, FLAGS.load_params)
        saved = checkpoint.load_config(FLAGS.save_dir) if FLAGS.load_params else None
        settings = settings_from_flags(saved)
        config = Config.of(**settings)  # Checks the flags before any data is read.
        if saved is not None:
            check_same_run(config, saved, images_are_known=False)
        cli.set_devices(config.nr_gpu, config.tf32)
        with StopSignals():
            strategy = distribution.make_strategy(config.nr_gpu, config.worker_timeout)
        set_graph_optimizer()
        splits = load_splits(config)
        settings["image_shape"] = splits[0].image_shape
        settings["num_labels"] = splits[0].num_labels
        config = Config.of(**settings)  # Again, with what the images determine.
        loop = prepare(config, *splits, FLAGS.save_dir, FLAGS.load_params, strategy)
    with cli.errors_in_one_line((OSError, Diverged, ReadFailed)):
        loop.run()
    if loop.is_chief:
        save_dir = quote(FLAGS.save_dir)
        say(f"checkpoints, samples and metrics.csv are in {save_dir}; next:")
        if not config.model.energy_distance:
            say(f"  python evaluate.py --save_dir={save_dir}")
        say(f"  python sample.py --save_dir={save_dir}")


if __name__ == "__main__":
    cli.run(main)
