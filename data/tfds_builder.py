"""Data sets of tensorflow_datasets, made ready to read."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def prepare(
    tfds_name: str, data_dir: str | None, remedy: str, manual_dir: str | None = None
) -> "tfds.core.DatasetBuilder":
    """The builder of a data set, downloaded and prepared where it was not.

    Raises FileNotFoundError, which ends with `remedy`, where that fails.
    """
    import tensorflow_datasets as tfds  # Here, as the other sources do without it.

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
