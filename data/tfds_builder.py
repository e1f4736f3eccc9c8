"""Data sets of tensorflow_datasets, found, and made ready to read."""

import difflib
import os
import re
import shlex
from typing import TYPE_CHECKING

import tensorflow as tf

from data.layout import other_data_set
from data.source import DAMAGE, printable, short_reason

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

CATALOG = "https://www.tensorflow.org/datasets/catalog"


def check_data_dir(tfds_name: str, data_dir: str, manual_dir: str | None) -> None:
    """Raises ValueError for a folder that is not for tensorflow_datasets."""
    if data_dir.encode(errors="ignore").decode() != data_dir:
        raise ValueError(
            f"data_dir={printable(data_dir)}: tensorflow_datasets needs a name in "
            "UTF-8; rename the folder."
        )
    if not os.path.exists(data_dir):
        raise FileNotFoundError(
            f"data_dir={printable(data_dir)}: there is no such folder; to have "
            f"{tfds_name} downloaded into it, make it first: mkdir -p "
            f"{printable(shlex.quote(data_dir))}."
        )
    folder = re.split("[/:]", tfds_name)[0]
    if manual_dir or os.path.isdir(os.path.join(data_dir, folder)):
        return
    flags = other_data_set(data_dir)
    if flags:
        raise ValueError(
            f"data_dir={printable(data_dir)} has no files of this data set, and "
            "nothing is downloaded beside the files there; for your own images give "
            f"{flags}."
        )
    if os.path.isfile(data_dir):
        raise NotADirectoryError(
            f"data_dir={printable(data_dir)} is a file; give the folder that it "
            "lies in."
        )


def find(
    tfds_name: str, data_dir: str | None, manual_dir: str | None = None
) -> "tfds.core.DatasetBuilder":
    """The builder of a data set, by its name, prepared or not.

    Raises ValueError where there is none of that name, and for a data_dir that is not
    for it.
    """
    import tensorflow_datasets as tfds  # Here, as the other sources do without it.

    if data_dir is not None:
        check_data_dir(tfds_name, data_dir, manual_dir)
    try:
        return tfds.builder(tfds_name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        names = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(tfds_name, names)
        meant = f"did you mean {' or '.join(close)}? All are" if close else "all are"
        raise ValueError(
            f"tfds:{printable(tfds_name)}: tensorflow_datasets has no data set of this "
            f"name; {meant} at {CATALOG}."
        ) from error
    except (*DAMAGE, ImportError) as error:
        raise ValueError(
            f"tfds:{printable(tfds_name)} is no data set of tensorflow-datasets "
            f"({short_reason(error)}); all are at {CATALOG}."
        ) from error


def prepare(
    builder: "tfds.core.DatasetBuilder", remedy: str, manual_dir: str | None = None
) -> None:
    """Downloads and prepares a data set where it is not prepared.

    Raises FileNotFoundError, which ends with `remedy`, where that fails.
    """
    import tensorflow_datasets as tfds

    name, folder = builder.info.full_name, builder.data_dir
    state = "reads" if builder.is_prepared() else "prepares, which can take long,"
    print(f"tensorflow_datasets {state} {name} in {folder}", flush=True)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    kinds = (
        tfds.download.DownloadError,
        tfds.core.download.download_manager.NonMatchingChecksumError,
        tf.errors.OpError,
        ImportError,
        *DAMAGE,
    )
    try:
        builder.download_and_prepare(download_config=config)
    except kinds as error:
        raise FileNotFoundError(
            f"{name} is not prepared in {folder} and cannot be downloaded "
            f"({short_reason(error)}); {remedy}"
        ) from error
    file_format = builder.info.file_format.value
    if file_format != "tfrecord":
        raise ValueError(
            f"{folder} is prepared as {file_format}, and tfrecord is read; prepare "
            f"{name} in another data_dir."
        )
