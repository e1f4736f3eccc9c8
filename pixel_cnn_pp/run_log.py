"""What a run tells: metrics.csv, the progress line, TensorBoard events."""

import csv
import importlib.util
import os
import time
from datetime import timedelta

import numpy as np
import tensorflow as tf
from absl import logging

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.evaluation import bits_per_dim

METRICS = "metrics.csv"


class RunLog:
    """Rows of metrics with the time they took; the steps of this process are counted.

    Opened with the step that the run goes on from and the rows that it had told: later
    rows of an earlier process are taken back, because what they tell is done again.
    """

    def __init__(
        self,
        save_dir: str | None,
        config: Config,
        step: int,
        rows: int,
        last_step: int,
        global_batch: int,
    ):
        """`global_batch`: images that a step takes on all replicas together.

        Without a `save_dir` nothing is told: another worker of the run does it.
        """
        self.config = config
        self.step = step
        self.rows = rows
        self.last_step = last_step
        self.global_batch = global_batch
        name = "energy_distance" if config.energy_distance else "bits_per_dim"
        self.unit = name.replace("_per_", "/").replace("_", " ")
        self.columns = [
            "step",
            "epoch",
            f"train_{name}",
            f"test_{name}",
            "learning_rate",
            "images_per_sec",
        ]
        self._path = self._file = self._events = None
        if save_dir is not None:
            self._path = os.path.join(save_dir, METRICS)
            self._take_back_later_rows()
            self._events = _event_writer(os.path.join(save_dir, "logs"))
        self.restart_clock()

    def __enter__(self):
        if self._path:
            self._file = open(self._path, "a", newline="")
        return self

    def __exit__(self, *_):
        if self._file:
            self._file.close()
        if self._events:
            self._events.close()

    def _take_back_later_rows(self) -> None:
        rows = []
        if os.path.exists(self._path):
            with open(self._path, newline="") as file:
                rows = [
                    row for row in csv.reader(file) if len(row) == len(self.columns)
                ]
        told = [row for row in rows if row[0].isdigit() and int(row[0]) <= self.step]
        kept = told[: self.rows]
        if len(kept) < self.rows:
            logging.warning(
                "%s: is missing or damaged; %s of its %s rows up to step %s are lost.",
                self._path,
                self.rows - len(kept),
                self.rows,
                self.step,
            )
        with open(self._path + ".new", "w", newline="") as file:
            csv.writer(file).writerows([self.columns, *kept])
        os.replace(self._path + ".new", self._path)

    def restart_clock(self) -> None:
        """Starts measuring speed anew: what came before was not training."""
        self._since = time.perf_counter()
        self._clocked_steps = 0

    def step_done(self) -> None:
        self.step += 1
        self._clocked_steps += 1

    def _images_per_sec(self) -> float | None:
        seconds = time.perf_counter() - self._since
        return self._clocked_steps * self.global_batch / seconds or None

    def _figure(self, loss: float | None) -> float | None:
        """Loss per image as it is shown: bits/dim, or energy distance per pixel."""
        if loss is None:
            return None
        shape = self.config.image_shape
        if self.config.energy_distance:
            return loss / (shape[0] * shape[1])
        return bits_per_dim(loss, shape)

    def row(
        self,
        epoch: int,
        train_loss: float | None,
        test_loss: float | None,
        learning_rate: float,
    ) -> None:
        """Writes a row and prints it; losses per image, None where not measured."""
        self.rows += 1
        if not self._file:
            return
        # A row with a test loss comes after an evaluation, which took time of its own.
        speed = self._images_per_sec() if test_loss is None else None
        values = [
            self._figure(train_loss),
            self._figure(test_loss),
            learning_rate,
            speed,
        ]
        shown = ["" if value is None else f"{value:.8g}" for value in values]
        csv.writer(self._file).writerow([self.step, epoch, *shown])
        self._file.flush()
        self._print(epoch, values[0], values[1], speed)
        if self._events:
            with self._events.as_default():
                for column, value in zip(self.columns[2:], values, strict=True):
                    if value is not None:
                        tf.summary.scalar(column, value, step=self.step)
        self.restart_clock()

    def _print(self, epoch, train, test, speed) -> None:
        parts = [f"step {self.step}/{self.last_step}", f"epoch {epoch}"]
        parts += [f"train {train:.4f} {self.unit}"] if train is not None else []
        parts += [f"test {test:.4f} {self.unit}"] if test is not None else []
        if speed:
            left = (self.last_step - self.step) * self.global_batch / speed
            parts += [f"{speed:.1f} images/s", f"{timedelta(seconds=round(left))} left"]
        print("  ".join(parts), flush=True)

    def pictures(self, **grids: np.ndarray) -> None:
        """Grids of uint8 [N, H, W, C] for TensorBoard, by name."""
        if self._events:
            with self._events.as_default():
                for name, images in grids.items():
                    tf.summary.image(name, image_ops.tile(images)[None], step=self.step)


def _event_writer(folder: str):
    if importlib.util.find_spec("tensorboard") is None:
        print("TensorBoard is not installed: no events are written.", flush=True)
        return None
    return tf.summary.create_file_writer(folder)
