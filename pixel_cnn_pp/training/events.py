"""TensorBoard events of a run: scalars, grids of images, the settings."""

import importlib.util

import numpy as np
import tensorflow as tf
from absl import logging

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config


class Events:
    """Writes to a folder where tensorboard is installed, and nothing elsewhere."""

    def __init__(self, folder: str, config: Config, step: int):
        """The settings are told at `step`, the one that the run goes on from."""
        self._writer = None
        if importlib.util.find_spec("tensorboard") is None:
            logging.warning(
                "no TensorBoard events are written: tensorboard is not installed; "
                "`pip install tensorboard` adds it."
            )
            return
        self._writer = tf.summary.create_file_writer(folder)
        with self._writer.as_default(step):
            tf.summary.text("config", markdown_table(config))

    @property
    def are_written(self) -> bool:
        return self._writer is not None

    def scalars(self, step: int, values: dict[str, float | None]) -> None:
        """Values by name; None is left out."""
        if self._writer:
            with self._writer.as_default(step):
                for name, value in values.items():
                    if value is not None:
                        tf.summary.scalar(name, value)

    def grid(
        self, step: int, name: str, images: np.ndarray, columns: int | None = None
    ) -> None:
        """One picture of uint8 [N, H, W, C], so many beside each other."""
        if self._writer:
            with self._writer.as_default(step):
                sheet = image_ops.visible(image_ops.tile(images, columns))
                tf.summary.image(name, sheet[None])

    def close(self) -> None:
        if self._writer:
            self._writer.close()


def markdown_table(config: Config) -> str:
    rows = [f"| {name} | {value} |" for name, value in config.settings().items()]
    return "\n".join(["| setting | value |", "| --- | --- |", *rows])
