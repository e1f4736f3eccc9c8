"""What the entry points share: TensorFlow's log level, one-line errors, flags.

Imported before TensorFlow, which reads its log level as it is loaded.
"""

import contextlib
import dataclasses
import os
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence

# Errors alone, unless the user has set it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Whatever the user's is: on the command line nothing else needs Keras.
os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

import data
from pixel_cnn_pp import PixelCNNPP, __version__, checkpoint, openai_checkpoint
from pixel_cnn_pp.config import NONLINEARITIES, Config
from pixel_cnn_pp.evaluation.tasks import Tasks
from pixel_cnn_pp.images import quantized, relabel

FLAGS = flags.FLAGS
# Flags defined by functions here belong to the entry point that calls them.
flags.disclaim_key_flags()


def run(main: Callable, argv: list[str] | None = None) -> None:
    """absl's `app.run`, which without --verbosity writes warnings and errors alone."""
    # Before the flags are parsed, so that the user's has the last word. absl itself
    # would make it INFO.
    logging.set_verbosity(logging.WARNING)
    if (argv or sys.argv)[1:] == ["--version"]:
        print(__version__)
        return
    app.run(main, argv)


def check_no_arguments(argv: list[str]) -> None:
    """Raises ValueError if words are left on the command line beside the flags."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; every setting is a flag.")


@contextlib.contextmanager
def errors_in_one_line(kinds=(ValueError, OSError)) -> Iterator[None]:
    """Ends the process with one line for an error of these kinds, or of TensorFlow, and
    with exit code 1; for Ctrl-C with the code that a shell gives it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        sys.exit(getattr(stop, "exit_code", 128 + signal.SIGINT))
    except tf.errors.OpError as error:
        # TensorFlow's first line says what failed, the others where in the graph.
        message = data.ReadError.of(error) or error.message.splitlines()[0]
        _exit(message)
    except kinds as error:
        _exit(error)


def _exit(message) -> None:
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(1)


class _PathParser(flags.ArgumentParser):
    """A path, ~ expanded: a shell leaves it in --save_dir=~/run."""

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)


def DEFINE_path(name: str, default: str | None, help: str, short_name=None) -> None:
    """Defines a flag that is a path."""
    flags.DEFINE(_PathParser(), name, default, help, short_name=short_name)


class _DataSetParser(flags.ArgumentParser):
    """The name of a data set."""

    def parse(self, argument: str) -> str:
        data.check_name(argument)
        return argument


def DEFINE_data_set(default: str | None, help: str) -> None:
    """Defines --data_set."""
    names = f"<{'|'.join((*data.NAMES, 'tfds:NAME'))}>: "
    parser = _DataSetParser()
    flags.DEFINE(parser, "data_set", default, names + help, short_name="d")


def DEFINE_field(
    of: type,
    name: str,
    help: str,
    short_name: str | None = None,
    choices: Sequence[str] | None = None,
    **limits: int,
) -> None:
    """Defines the flag of a dataclass's field, with its type and default."""
    kind, default = typing.get_type_hints(of)[name], getattr(of, name)
    if isinstance(kind, types.UnionType):
        kind, _ = typing.get_args(kind)  # Of int | None, int.
    if choices is not None:
        flags.DEFINE_enum(name, default, choices, help, short_name=short_name)
    else:
        define = {
            bool: flags.DEFINE_bool,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
        }[kind]
        define(name, default, help, short_name=short_name, **limits)


def define_model_flags() -> None:
    """Defines the flags that name a trained model. The entry point adopts them."""
    DEFINE_path(
        "save_dir",
        None,
        "Folder of a run of train.py, whose model is used.",
        short_name="o",
    )
    DEFINE_path(
        "official_checkpoint",
        None,
        "TF1 checkpoint of openai/pixel-cnn, the path up to .ckpt, in place of "
        "--save_dir.",
    )
    flags.DEFINE_bool(
        "averaged", True, "Use the EMA parameters; --noaveraged uses the raw ones."
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
        NONLINEARITIES,
        "For --official_checkpoint: elu or relu, which its shapes do not tell.",
        short_name="z",
    )


def check_model_flags() -> None:
    """Raises ValueError if the flags name no model, or two."""
    if (FLAGS.save_dir is None) == (FLAGS.official_checkpoint is None):
        raise ValueError("give one of --save_dir and --official_checkpoint.")


def model_from_flags(image_size: tuple[int, int]) -> PixelCNNPP:
    """The model that the flags name; an official one for images of that size."""
    if FLAGS.save_dir is not None:
        model, _ = checkpoint.load_model(FLAGS.save_dir, FLAGS.averaged)
    else:
        model = openai_checkpoint.build_model(
            FLAGS.official_checkpoint,
            FLAGS.resnet_nonlinearity,
            FLAGS.averaged,
            image_size,
        )
    check_weights(model)
    model.round_kernels(FLAGS.kernels)
    return model


def check_weights(model: PixelCNNPP) -> None:
    """Raises ValueError where weights are NaN or infinite."""
    bad = [n for n, p in model.parameters.items() if not np.isfinite(p.numpy()).all()]
    if bad:
        raise ValueError(
            f"this model has NaN or infinite weights, for example in {bad[0]}: its "
            "training diverged; train it anew with a lower --learning_rate."
        )


def define_image_flags() -> None:
    """Defines the flags that name images, by default those of the run."""
    DEFINE_data_set(None, "The images; by default those of the run.")
    DEFINE_path(
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
    DEFINE_field(Tasks, "split", "Which images.", choices=data.SPLITS)
    DEFINE_field(
        Tasks,
        "max_images",
        "Take only the first so many images; by default all, or 8 for --complete_rows "
        "and --heatmap.",
        lower_bound=1,
    )


def define_sampling_flags(num_samples: str, output_dir: str) -> None:
    """Defines the flags of samples and completions, two with these help texts."""
    DEFINE_field(Tasks, "num_samples", num_samples, "ns", lower_bound=1)
    flags.DEFINE_list(
        "labels",
        None,
        "For --num_samples of a class-conditional model: the class names or numbers to "
        "cycle through, for example cat,dog or 3,5; by default all.",
    )
    DEFINE_field(
        Tasks,
        "complete_rows",
        "Keep so many rows of the first --max_images images (8 by default) and sample "
        "the rest.",
        lower_bound=0,
    )
    DEFINE_field(
        Tasks, "num_completions", "How often each image is completed.", lower_bound=1
    )
    DEFINE_path("output_dir", None, output_dir)
    DEFINE_field(
        Tasks,
        "scale",
        "Side in PNG pixels of each pixel of the images; by default an image becomes "
        "at least 128 PNG pixels large. An NPZ has the images as they are.",
        lower_bound=1,
        upper_bound=64,
    )
    DEFINE_field(
        Tasks,
        "temperature",
        "Of samples and completions, above 0: 1 samples from the model, less keeps "
        "closer to the most probable images.",
    )
    DEFINE_field(
        Tasks, "seed", "Samples and completions are a function of it.", short_name="s"
    )


def load_images(with_labels: bool) -> data.Source:
    """The images that the flags name, by default those of the run.

    They have labels if the model takes them or, with `with_labels`, if there are any.
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
    if "test_share" not in given:
        is_it = is_same and places[0] == places[1]
        settings["test_share"] = config.test_share if is_it else None
    if "tfds_split_test" not in given and is_same:
        settings["tfds_split_test"] = config.tfds_split_test
    if "image_size" not in given:
        has_side = shape is not None and shape[0] == shape[1]
        is_resized = has_side and data.is_resized(settings["data_set"])
        settings["image_size"] = shape[0] if is_resized else None
    source = settings.pop("data_set"), settings.pop("data_dir"), FLAGS.split
    labels = num_labels is not None or (with_labels and data.has_labels(*source))
    return data.load(*source, labels=labels, **settings)


def tasks_from_flags() -> Tasks:
    """What the entry point is asked for."""
    names = [field.name for field in dataclasses.fields(Tasks)]
    return Tasks(**{name: FLAGS[name].value for name in names if name in FLAGS})


def run_tasks(tasks: Tasks, precision: str = "float32", fused: bool = True) -> None:
    """Checks, then does what is asked for with the model and images of the flags."""
    with errors_in_one_line():
        check_model_flags()
        tasks.check_flags()
        images, size = None, (FLAGS.image_size or 32,) * 2
        if tasks.needs_images:
            images = load_images(tasks.scores_csv is not None)
            size = images.image_shape[:2]
        model = model_from_flags(size)
        model.set_precision(precision)
        model.set_fusion(fused)
        if images is not None and model.num_labels is not None:
            images = relabel(images, model.class_names)
        if images is not None:
            images = quantized(images, model.num_levels)
        tasks.check_model(model, images)
    with errors_in_one_line((OSError, FloatingPointError)):
        tasks.run(model, images)
