"""What evaluate.py and sample.py share: flags of images and samples, the tasks."""

import dataclasses
import os

from absl import flags, logging

import cli  # Before TensorFlow: it sets its log level.
import data
from pixel_cnn_pp import (
    PixelCNNPP,
    checkpoint,
    cluster,
    distribution,
    openai_checkpoint,
)
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.evaluation import checks
from pixel_cnn_pp.evaluation.devices import Machine
from pixel_cnn_pp.evaluation.ratio import Background
from pixel_cnn_pp.evaluation.tasks import Tasks
from pixel_cnn_pp.images import fingerprint, quantized, relabel

FLAGS = flags.FLAGS
# Flags defined by functions here belong to the entry point that calls them.
flags.disclaim_key_flags()


def define_image_flags() -> None:
    """Defines the flags that name images, by default those of the run."""
    cli.DEFINE_data_set(None, "The images; by default those of the run.")
    cli.DEFINE_path(
        "data_dir",
        None,
        "Where the images are; by default as in the run. For folder also a folder of "
        "images without train/ and test/.",
        short_name="i",
    )
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of the images in pixels, for shapes, folder and sets of "
        "tensorflow-datasets; by default that of the model.",
        upper_bound=data.MAX_IMAGE_SIZE,
    )
    flags.DEFINE_bool(
        "skip_bad_images",
        None,
        "For folder: skip files that cannot be read as images, and report them; by "
        "default as in the run.",
    )
    flags.DEFINE_float(
        "test_share",
        None,
        "For a folder of images without train/ and test/: divide it as a run with this "
        "--test_share does; by default as in the run for its --data_dir, while all "
        "images of another folder are taken.",
    )
    flags.DEFINE_string(
        "tfds_split_test",
        None,
        "For sets of tensorflow-datasets: their split that --split=test takes; by "
        "default as in the run for its --data_set, else test.",
    )
    cli.DEFINE_field(
        Tasks,
        "split",
        "Which images; validation: those that the run held out by its "
        "--validation_share, which its train then lacks.",
        choices=("train", "validation", "test"),
    )
    cli.DEFINE_field(
        Tasks,
        "max_images",
        "Use only the first N images; by default all, or 8 for --complete_rows, "
        "--inpaint_mask and --heatmap.",
        lower_bound=1,
    )


def define_sampling_flags(num_samples: str, output_dir: str) -> None:
    """Defines the flags of samples and completions, two with these help texts."""
    cli.DEFINE_field(Tasks, "num_samples", num_samples, "ns", lower_bound=1)
    cli.DEFINE_field(
        Tasks,
        "shard_images",
        "More samples than this are written in files samples-00000.npz, … of so many "
        "images each. Every device samples a file at a time. Run again after a kill, "
        "the command keeps the files that are there.",
        lower_bound=1,
    )
    flags.DEFINE_list(
        "labels",
        None,
        "For --num_samples of a class-conditional model: the class names or numbers to "
        "cycle through, for example cat,dog or 3,5; by default all.",
    )
    cli.DEFINE_field(
        Tasks,
        "complete_rows",
        "Number of rows to keep of the first --max_images images (8 by default); the "
        "rest is sampled.",
        lower_bound=0,
    )
    cli.DEFINE_path(
        "inpaint_mask",
        None,
        "PNG of the size of the images, black and white: the white pixels of the first "
        "--max_images images (8 by default) are kept, the black ones sampled. Pixels "
        "are sampled in raster order, so a black pixel is sampled given the rows above "
        "and what is left of it: kept pixels below or to the right have no influence.",
    )
    cli.DEFINE_field(
        Tasks, "num_completions", "Completions of each image.", lower_bound=1
    )
    cli.DEFINE_path("output_dir", None, output_dir)
    cli.DEFINE_field(
        Tasks,
        "scale",
        "Side in PNG pixels of each pixel of the images; by default an image becomes "
        "at least 128 PNG pixels large. An NPZ has the images as they are.",
        lower_bound=1,
        upper_bound=64,
    )
    cli.DEFINE_field(
        Tasks,
        "temperature",
        "Of samples and completions, above 0: 1 samples from the model, less keeps "
        "closer to the most probable images.",
    )
    flags.DEFINE_list(
        "seed",
        ",".join(Tasks.seed),
        "Seed of samples and completions: one integer or two, 3 or 3,4, as seed=3 or "
        "seed=(3, 4) in Python.",
        short_name="s",
    )


def define_compute_flags() -> None:
    """Defines the flags that say how to compute, and on which devices."""
    flags.DEFINE_integer(
        "nr_gpu",
        None,
        "GPUs to score and sample on; by default all, or one CPU without a GPU. "
        "Completions and heat maps use the first.",
        short_name="g",
        lower_bound=1,
    )
    cli.DEFINE_field(
        Tasks,
        "worker_timeout",
        "Seconds that the first machine of TF_CONFIG waits for the next file of the "
        "others in --output_dir, a folder that all of them share.",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "jit_compile",
        None,
        "Compile sampling, and in scoring activation, padding and gating, with XLA. By "
        "default unless the GPU is too new for it; --nojit_compile does without XLA.",
    )
    cli.define_tf32(False)


def load_images(with_labels: bool, needs_labels: bool = False) -> data.Source:
    """The images that the flags name, by default those of the run.

    They have labels if the model or, with `needs_labels`, the background model takes
    them, or, with `with_labels`, if there are any.
    """
    if FLAGS.save_dir is not None:
        config = checkpoint.load_config(FLAGS.save_dir)
        num_labels, shape = config.model.num_labels, config.model.image_shape
    else:
        prefix, nonlinearity = FLAGS.official_checkpoint, FLAGS.resnet_nonlinearity
        inferred = openai_checkpoint.infer(prefix, nonlinearity)
        config, num_labels, shape = Config(), inferred["num_labels"], None
    names = "data_set", "data_dir", "image_size", "skip_bad_images", "test_share"
    names = *names, "tfds_split_test"
    given = {name: FLAGS[name].value for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    # What is said of a data set holds for no other.
    ours = config if "data_set" not in given else Config()
    settings = {name: getattr(ours, name) for name in names} | given
    places = [os.path.abspath(of) for of in (settings["data_dir"], config.data_dir)]
    is_same = settings["data_set"] == config.data_set
    is_it = is_same and places[0] == places[1]
    if "test_share" not in given:
        settings["test_share"] = config.test_share if is_it else None
    if "tfds_split_test" not in given and is_same:
        settings["tfds_split_test"] = config.tfds_split_test
    if "image_size" not in given:
        has_side = shape is not None and shape[0] == shape[1]
        is_resized = has_side and data.is_resized(settings["data_set"])
        settings["image_size"] = shape[0] if is_resized else None
    share = config.validation_share if is_it else 0.0
    split = stored_split(share)
    source = settings.pop("data_set"), settings.pop("data_dir"), split
    labels = needs_labels or num_labels is not None
    labels = labels or (with_labels and data.has_labels(*source))
    images = data.load(*source, labels=labels, **settings)
    if share and split == "train":
        return part_of_run(images, config)
    if is_it and not (given.keys() - {"data_set", "data_dir"}):
        warn_of_other_images(images, config)
    return images


def stored_split(validation_share: float) -> str:
    """The split of the data set that has the images of --split.

    Raises ValueError where they have no validation images.
    """
    if FLAGS.split != "validation":
        return FLAGS.split
    if not validation_share:
        raise ValueError(
            "--split=validation: the run held out no part of these images, see "
            "--validation_share of train.py; give --split=test, or the images of a run "
            "that did."
        )
    return "train"


def part_of_run(images: data.Source, config: Config) -> data.Source:
    """The part of the training images that the run trained on, or validated on.

    Raises ValueError where there are other images now, so that nobody knows which.
    """
    train, validation = data.divide(images, config.validation_share, config.seed)
    if train.num_images != config.num_images:
        raise ValueError(
            f"--split={FLAGS.split}: of {images.num_images} training images the run "
            f"would train on {train.num_images}, and it trained on "
            f"{config.num_images}; give the images it had."
        )
    if not are_of_run(train, config):
        raise ValueError(
            f"--split={FLAGS.split}: the images in --data_dir, or --seed or "
            "--validation_share in config.json, are not those of the run, so it is "
            "unknown which it trained on; give the images it had."
        )
    return train if FLAGS.split == "train" else validation


def warn_of_other_images(images: data.Source, config: Config) -> None:
    """Warns where the data set of the run has other images now than the run had."""
    if images.image_shape == config.model.image_shape and not are_of_run(
        images, config, FLAGS.split
    ):
        logging.warning(
            "--split=%s: these are not the images that the run had: those in "
            "--data_dir, or a setting in config.json, have changed",
            FLAGS.split,
        )


def are_of_run(images: data.Source, config: Config, split: str = "train") -> bool:
    """Whether the first of these images are those of the run, as far as it is known.

    `split`: 'train', or 'test' for the images that a run scores after each epoch.
    """
    known, seed = config.held_out_fingerprint, 0
    if split == "train":
        known, seed = config.fingerprint, config.seed
    if known is None or (split == "test" and config.validation_share):
        return True
    labels = config.model.num_labels is not None
    ours = quantized(images, config.model.num_levels)
    return fingerprint(ours, seed, labels) == known


def tasks_from_flags() -> Tasks:
    """What the entry point is asked for."""
    names = [field.name for field in dataclasses.fields(Tasks)]
    return Tasks(**{name: FLAGS[name].value for name in names if name in FLAGS})


def run_tasks(tasks: Tasks, precision: str = "float32") -> None:
    """Checks, then does what is asked for with the model and images of the flags."""
    with cli.errors_in_one_line():
        cli.check_model_flags()
        tasks.check_flags()
        index, count = cluster.position()
        cli.set_devices(FLAGS.nr_gpu, FLAGS.tf32)
        devices = distribution.device_names(FLAGS.nr_gpu)
        machine = Machine(devices, index, count)
        images, size = None, (FLAGS.image_size or 32,) * 2
        other = background = None
        if tasks.background_dir is not None:
            other = cli.background_model(tasks.background_dir)
        if tasks.needs_images:
            needs_labels = other is not None and other.num_labels is not None
            images = load_images(tasks.scores_csv is not None, needs_labels)
            size = images.image_shape[:2]
            checks.check_outside(images, tasks.output_dir)
        model = cli.model_from_flags(size)
        if other is not None:
            background = Background(other, images_for(other, images))
        images = images_for(model, images)
        tasks.check_model(model, images, background)
        with_xla = distribution.xla_scope(FLAGS.jit_compile) is not False
        for scored in filter(None, (model, other)):
            scored.set_precision(precision)
            scored.set_jit_compile(with_xla)
            if tasks.dequantization_draws:
                scored.set_dequantization_draws(tasks.dequantization_draws)
    with cli.errors_in_one_line((OSError, FloatingPointError)):
        tasks.run(model, images, machine, background)


def images_for(model: PixelCNNPP, images: data.Source | None) -> data.Source | None:
    """The images with the labels and the pixel values of a model, None if None."""
    if images is not None and model.num_labels is not None:
        images = relabel(images, model.class_names)
    return None if images is None else quantized(images, model.num_levels)
