"""The images of evaluate.py and sample.py: the flags that name them, loading them."""

import functools
import os

from absl import flags, logging

import cli  # Before TensorFlow: it sets its log level.
import data
from pixel_cnn_pp import PixelCNNPP, checkpoint, openai_checkpoint
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.evaluation.tasks import Tasks
from pixel_cnn_pp.images import ImageSet, fingerprint, quantized, relabel

FLAGS = flags.FLAGS
# Flags defined by functions here belong to the entry point that calls them.
flags.disclaim_key_flags()
task_flag = functools.partial(cli.DEFINE_field, Tasks)
# By default as in the run.
run_flag = functools.partial(cli.DEFINE_field, Config, default=None)
# Settings of a run that say which images it has; each has a flag here.
SETTINGS = ("data_set", "data_dir", *cli.LOAD_OPTIONS)


def define_image_flags() -> None:
    """Defines the flags that name images, by default those of the run."""
    cli.DEFINE_data_set(None, "The images; by default those of the run.")
    cli.DEFINE_path(
        "data_dir",
        "Where the images are; by default as in the run. For folder also a folder of "
        "images without train/ and test/.",
        short_name="i",
    )
    run_flag(
        "image_size",
        "Side of the images in pixels, for shapes, folder and sets of "
        "tensorflow-datasets; by default that of the model.",
        lower_bound=1,
        upper_bound=data.MAX_IMAGE_SIZE,
    )
    run_flag(
        "skip_bad_images",
        "For folder: skip files that cannot be read as images, and report them; by "
        "default as in the run.",
    )
    run_flag(
        "test_share",
        "For a folder of images without train/ and test/: divide it as a run with this "
        "--test_share does; by default as in the run for its images, while all of "
        "another folder are taken.",
    )
    run_flag(
        "tfds_split_test",
        "For sets of tensorflow-datasets: their split that --split=test takes; by "
        "default as in the run for its --data_set, else test.",
    )
    task_flag(
        "split",
        "Which images; validation: those that the run held out by its "
        "--validation_share, which its train then lacks.",
        enum_values=("train", "validation", "test"),
    )
    task_flag(
        "max_images",
        "Use only the first N images; by default all, or 8 for --complete_rows, "
        "--inpaint_mask and --heatmap.",
        lower_bound=1,
    )


def run_config() -> Config:
    """The settings of the run of --save_dir; without one the defaults."""
    if FLAGS.save_dir is None:
        return Config()
    return checkpoint.load_config(FLAGS.save_dir)


def given_settings() -> dict:
    """The SETTINGS that the command line gives."""
    given = {name: FLAGS[name].value for name in SETTINGS}
    return {name: value for name, value in given.items() if value is not None}


def load_images(with_labels: bool, needs_labels: bool = False) -> data.Source:
    """The images that the flags name, by default those of the run.

    They have labels if the model or, with `needs_labels`, the background model takes
    them, or, with `with_labels`, if there are any.
    """
    config, given = run_config(), given_settings()
    shape = None if FLAGS.save_dir is None else config.model.image_shape
    # The settings of the run apply to its data set only.
    ours = config if "data_set" not in given else Config()
    settings = {name: getattr(ours, name) for name in SETTINGS} | given
    now, then = map(data.main_name, (settings["data_set"], config.data_set))
    is_same_set = now == then
    if "tfds_split_test" not in given and is_same_set:
        settings["tfds_split_test"] = config.tfds_split_test
    if "image_size" not in given:
        has_side = shape is not None and shape[0] == shape[1]
        is_resized = has_side and data.is_resized(settings["data_set"])
        settings["image_size"] = shape[0] if is_resized else None
    is_of_run = is_same_set and is_data_of_run(settings, config)
    if "test_share" not in given:
        settings["test_share"] = config.test_share if is_of_run else None
        if is_same_set and config.test_share and not is_of_run:
            logging.warning(
                "--data_dir=%s: not the images of the run, which --test_share divided; "
                "where these are not divided, all of them are scored",
                settings["data_dir"],
            )
    share = config.validation_share if is_of_run else 0.0
    settings["split"] = stored_split(share)
    images = load(settings, needs_labels or takes_labels(config), with_labels)
    if share and settings["split"] == "train":
        return part_of_run(images, config)
    if is_of_run and given.keys() <= {"data_set", "data_dir"}:
        warn_of_other_images(images, config)
    return images


def takes_labels(config: Config) -> bool:
    """Whether the model of the flags is class-conditional."""
    if FLAGS.save_dir is not None:
        return config.model.num_labels is not None
    prefix, nonlinearity = FLAGS.official_checkpoint, FLAGS.resnet_nonlinearity
    return openai_checkpoint.infer(prefix, nonlinearity)["num_labels"] is not None


def load(settings: dict, needs_labels: bool, with_labels: bool) -> data.Source:
    """`data.load`, with labels if they are needed, or wanted and stored."""
    settings = dict(settings)
    source = [settings.pop(name) for name in ("data_set", "data_dir", "split")]
    labels = needs_labels or (with_labels and data.has_labels(*source))
    try:
        return data.load(*source, labels=labels, **settings)
    except ValueError:
        # The labels of test images may not be published.
        if needs_labels or not labels or not data.is_of_tfds(source[0]):
            raise
        return data.load(*source, labels=False, **settings)


def is_data_of_run(settings: dict, config: Config) -> bool:
    """Whether this place has the images of the run: the same place, or a copy of it
    where the run divided its images."""
    places = settings["data_dir"], config.data_dir
    if os.path.realpath(places[0]) == os.path.realpath(places[1]):
        return True
    if config.fingerprint is None or not (config.test_share or config.validation_share):
        return False
    settings = settings | {"split": "train", "test_share": config.test_share}
    try:
        train = load(settings, config.model.num_labels is not None, False)
        if config.validation_share:
            train, _ = data.divide(train, config.validation_share, config.seed)
        return are_of_run(train, config)
    except (ValueError, OSError):
        return False


def check_output_dir(output_dir: str | None) -> None:
    """Raises ValueError where pictures would be written among image files: those that
    the flags name, or those of the run."""
    config, given = run_config(), given_settings()
    of_run = {"data_set": config.data_set, "data_dir": config.data_dir}
    for place in (of_run, of_run | given):
        folder = place["data_dir"]
        if place["data_set"] != "folder" or not folder or not output_dir:
            continue
        if data.are_images_of(folder, output_dir):
            raise ValueError(
                f"--output_dir={output_dir}: lies within the images of {folder}, and "
                "its pictures would be taken for images; give another folder."
            )


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

    Raises ValueError where there are other images now: the part cannot be reproduced.
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


def warn_of_order(model: PixelCNNPP, images: data.Source) -> None:
    """Warns where the model has no class names, so that their order may differ."""
    names = images.class_names or ()
    is_named = any(name != str(label) for label, name in enumerate(names))
    if model.class_names is None and is_named and not images.name.startswith("cifar"):
        order = ", ".join(f"{label} {name}" for label, name in enumerate(names))
        logging.warning(
            "this model has no names for its labels; the images' classes are taken in "
            "their own order: %.300s",
            order,
        )


def images_for(model: PixelCNNPP, images: data.Source | None) -> ImageSet | None:
    """The images with the labels and the pixel values of a model, None if None."""
    if images is not None and model.num_labels is not None:
        warn_of_order(model, images)
        images = relabel(images, model.class_names)
    return None if images is None else quantized(images, model.num_levels)
