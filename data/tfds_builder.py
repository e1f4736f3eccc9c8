"""Data sets of tensorflow_datasets, made ready to read."""

import contextlib
import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

import tensorflow as tf

from data.layout import check_no_other_data_set
from data.source import shown

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def check_data_dir(tfds_name: str, data_dir: str, manual_dir: str | None) -> None:
    """Raises ValueError for a folder that is not for tensorflow_datasets."""
    if data_dir.encode(errors="ignore").decode() != data_dir:
        raise ValueError(
            f"data_dir={shown(data_dir)}: tensorflow_datasets needs a name in UTF-8; "
            "rename the folder."
        )
    if not os.path.exists(data_dir):
        raise FileNotFoundError(
            f"data_dir={shown(data_dir)}: there is no such folder; to have "
            f"{tfds_name} downloaded into it, make it first: mkdir -p "
            f"{shown(shlex.quote(data_dir))}."
        )
    is_theirs = manual_dir or os.path.isdir(os.path.join(data_dir, tfds_name))
    if not is_theirs:
        check_no_other_data_set(data_dir)


def prepare(
    tfds_name: str, data_dir: str | None, remedy: str, manual_dir: str | None = None
) -> "tfds.core.DatasetBuilder":
    """The builder of a data set, downloaded and prepared where it was not.

    Raises FileNotFoundError, which ends with `remedy`, where that fails.
    """
    import tensorflow_datasets as tfds  # Here, as the other sources do without it.

    if data_dir is not None:
        check_data_dir(tfds_name, data_dir, manual_dir)
    builder = tfds.builder(tfds_name, data_dir=data_dir)
    if builder.is_prepared():
        state = "reads"
    else:
        state = "prepares, which can take long,"
    print(f"tensorflow_datasets {state} {tfds_name} in {builder.data_dir}", flush=True)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    try:
        builder.download_and_prepare(download_config=config)
    except (tfds.download.DownloadError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileNotFoundError(
            f"{tfds_name} is not prepared in {builder.data_dir} and cannot be had "
            f"({reason}); {remedy}"
        ) from error
    return builder


@contextlib.contextmanager
def errors_in_one_line(builder: "tfds.core.DatasetBuilder") -> Iterator[None]:
    """Turns errors of TensorFlow while prepared files are read into a ValueError."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = shown(error.message.splitlines()[0])
        raise ValueError(
            f"{builder.data_dir} cannot be read ({reason:.200}); remove that folder to "
            "prepare it again."
        ) from error
