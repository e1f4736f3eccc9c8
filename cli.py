"""What the entry points share: TensorFlow's log level, one-line errors, flags.

Imported before TensorFlow, which reads its log level as it is loaded.
"""

import contextlib
import io
import os
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

# Errors alone, unless the user has set it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Whatever backend the user has chosen: here Keras is used with TensorFlow alone.
os.environ["KERAS_BACKEND"] = "tensorflow"
try:
    import keras  # noqa: F401
except (AssertionError, AttributeError, TypeError, ValueError) as error:
    path = os.path.join(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json")
    sys.exit(f"error: {path}: Keras cannot read it ({error!r}); repair or delete it.")

import tensorflow as tf
from absl import app, flags, logging

import data
from pixel_cnn_pp import (
    PixelCNNPP,
    __version__,
    checkpoint,
    distribution,
    openai_checkpoint,
)
from pixel_cnn_pp.config import NONLINEARITIES
from pixel_cnn_pp.errors import tensorflow_reason
from pixel_cnn_pp.files import is_address

# Settings of a run that data.load takes as arguments of the same names.
LOAD_OPTIONS = ("image_size", "skip_bad_images", "test_share", "tfds_split_test")
FLAGS = flags.FLAGS
# Flags defined by functions here belong to the entry point that calls them.
flags.disclaim_key_flags()


def run(main: Callable, argv: list[str] | None = None) -> None:
    """absl's `app.run`, which without --verbosity writes warnings and errors alone."""
    # Before the flags are parsed, so that the user's has the last word. absl itself
    # would make it INFO.
    logging.set_verbosity(logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        # Names that the terminal's encoding has not.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if (argv or sys.argv)[1:] == ["--version"]:
        print(__version__)
        return
    app.run(main, argv, _parse)


def _parse(argv: list[str]) -> list[str]:
    """Sets the flags; there are no other arguments."""
    try:
        left = app.parse_flags_with_usage(argv)
    except UnicodeDecodeError as error:
        _exit(f"--flagfile: is no text file ({error}); give one with a flag a line.")
    if len(left) > 1:
        _exit(f"unexpected argument {left[1]!r}; every setting is a flag.")
    return left


@contextlib.contextmanager
def errors_in_one_line(kinds=(ValueError, OSError)) -> Iterator[None]:
    """Ends the process with one line for an error of these kinds, or of TensorFlow, and
    with exit code 1; for Ctrl-C with the code that a shell gives it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        sys.exit(getattr(stop, "exit_code", 128 + signal.SIGINT))
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        _exit(out_of_memory(error))
    except tf.errors.OpError as error:
        lost = data.ReadError.of(error)
        _exit(f"{lost} Restore it and try again." if lost else tensorflow_reason(error))
    except distribution.WorkerLost as error:
        _print(error)
        # At once: TensorFlow still holds threads and sockets for the lost worker.
        os._exit(1)
    except kinds as error:
        _exit(error)


def out_of_memory(error: Exception) -> str:
    """What to say of an allocation that failed, or of a full disk."""
    reason = tensorflow_reason(error)
    if "No space left" in reason:
        return reason
    return (
        f"out of memory ({reason}); give a smaller --batch_size, fewer or smaller "
        "images, or a smaller model."
    )


def _exit(message) -> None:
    _print(message)
    sys.exit(1)


def _print(message) -> None:
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


class _PathParser(flags.ArgumentParser):
    """A path, ~ expanded: a shell leaves it in --save_dir=~/run."""

    def parse(self, argument: str) -> str:
        if not argument:
            raise ValueError("is empty; give a path, or remove the flag")
        if is_address(argument):
            raise ValueError(
                "is an address, and only local files are read and written; copy the "
                "files and give a path, for example /tmp/images"
            )
        return os.path.expanduser(argument)


def DEFINE_path(
    name: str, help: str, short_name: str | None = None, default: str | None = None
) -> None:
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


def DEFINE_field(config: type, name: str, help: str, **options: Any) -> None:
    """Defines the flag of a dataclass's field, with its type and default.

    `options`: those of absl's flags, such as short_name or another default.
    """
    kind = typing.get_type_hints(config)[name]
    if isinstance(kind, types.UnionType):
        kind, _ = typing.get_args(kind)  # Of int | None, int.
    define = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_enum if "enum_values" in options else flags.DEFINE_string,
    }[kind]
    define(name, help=help, **{"default": getattr(config, name)} | options)


def check_unused(names: str, why: str) -> None:
    """Raises ValueError where one of these flags, which have no effect, is given."""
    for flag in (FLAGS[name] for name in names.split() if name in FLAGS):
        if flag.value != flag.default:
            is_list = isinstance(flag.value, list)
            value = ",".join(flag.value) if is_list else flag.value
            raise ValueError(f"--{flag.name}={value}: has no effect {why}.")


def define_model_flags() -> None:
    """Defines the flags that name a trained model. The entry point adopts them."""
    DEFINE_path("save_dir", "Folder of a run of train.py, whose model is used.", "o")
    DEFINE_path(
        "official_checkpoint",
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
        "Precision of the kernels: bfloat16 rounds them.",
    )
    flags.DEFINE_enum(
        "resnet_nonlinearity",
        None,
        NONLINEARITIES,
        "For --official_checkpoint: elu or relu, which its shapes do not show.",
        short_name="z",
    )


def define_tf32(default: bool) -> None:
    """Defines --tf32. The entry point adopts it."""
    flags.DEFINE_bool(
        "tf32",
        default,
        "On GPUs from Ampere on, round the factors of float32 products to 10 bits of "
        "mantissa (TensorFloat-32): faster; emulated on a CPU, bits/dim changed by "
        "up to 1e-4, those of single images by up to 1.1e-2.",
    )


def set_devices(num_gpus: int | None, tf32: bool) -> None:
    """Makes TensorFlow use so many GPUs, by default all; before its first operation."""
    distribution.show_gpus(num_gpus)
    tf.config.experimental.enable_tensor_float_32_execution(tf32)


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
    model.round_kernels(FLAGS.kernels)
    return model


def background_model(folder: str) -> PixelCNNPP:
    """The background model in the folder that --background_dir names."""
    try:
        model, _ = checkpoint.load_model(folder, FLAGS.averaged)
    except (ValueError, OSError) as error:
        message = str(error).replace("--save_dir=", "--background_dir=")
        raise ValueError(message) from error
    model.round_kernels(FLAGS.kernels)
    return model
