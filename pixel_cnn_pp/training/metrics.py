"""Metrics of a run: rows of metrics.csv, TensorBoard events, the progress bar."""

import csv
import importlib.util
import os
import re
import sys
import time
from datetime import timedelta

import numpy as np
import tensorflow as tf
from absl import logging
from tqdm import tqdm

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.files import open_atomic, tensorflow_path
from pixel_cnn_pp.likelihood import bits_per_dim
from pixel_cnn_pp.training.state import TrainState

METRICS = "metrics.csv"
# Its first line; then a step, an epoch and four numbers as `RunLog.row` writes them.
_HEADER = re.compile(r"step,epoch,train_(\w+),(test|validation)_\1,\w+,\w+")
_NUMBER = r"-?\d+(\.\d+)?(e[+-]\d\d)?|-?inf|nan"
_ROW = re.compile(rf"\d{{1,19}},\d{{1,19}}(,({_NUMBER})?){{4}}", re.ASCII)


def read_metrics(path: str) -> list[list[str] | None]:
    """The values in each line of metrics.csv, the header first, None for a damaged
    line; nothing where there is no file."""
    if not os.path.exists(path):
        return []
    lines = []
    with open(path, errors="replace") as file:
        for text in file:
            text, pattern = text.rstrip("\n"), _ROW if lines else _HEADER
            lines.append(text.split(",") if pattern.fullmatch(text) else None)
    return lines


def say(line: str) -> None:
    """Prints a line at once. A run continues if nobody reads its stdout any more."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    line = line.encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = None


class RunLog:
    """Rows of metrics and the progress bar of this process.

    On a terminal a progress bar shows the run's state, and rows with a result of test
    or validation images are printed. Without one, or with --verbosity=0 or more, every
    row is printed.

    Opened with the state that the run resumes from, which counts its rows: later rows
    of an earlier process are removed, because their steps are done again.
    """

    def __init__(
        self, save_dir: str | None, config: Config, state: TrainState, last_step: int
    ):
        """Without a `save_dir` nothing is written: another worker of the run does it.

        The counters of `state` are read here alone: reading one waits for the device.
        """
        self.config = config
        self.step = self._first_step = state.count("step")
        self.epoch = state.count("epoch")
        self.rows = state.count("rows")
        self.last_step = last_step
        is_energy = config.model.energy_distance
        self.unit = "energy distance" if is_energy else "bits/dim"
        name = "energy_distance" if is_energy else "bits_per_dim"
        losses = [f"train_{name}", f"{config.held_out}_{name}"]
        self.columns = ["step", "epoch", *losses, "learning_rate", "images_per_sec"]
        # The newest training loss and speed, as they are shown.
        self._train = self._train_step = self._speed = None
        self.bar = tqdm(
            total=last_step,
            initial=self.step,
            unit="step",
            dynamic_ncols=True,
            disable=not (save_dir and sys.stderr and sys.stderr.isatty()),
        )
        # The bar, on stderr, is nothing for a reader of stdout.
        on_terminal = sys.stdout and sys.stdout.isatty()
        self.prints_all = self.bar.disable or not on_terminal
        self.events = self._path = self._file = None
        if save_dir is not None:
            self._path = os.path.join(save_dir, METRICS)
            self._remove_later_rows()
            if importlib.util.find_spec("tensorboard"):
                self.events = Events(os.path.join(save_dir, "logs"), config, self.step)
            else:
                logging.warning(
                    "no TensorBoard events are written: tensorboard is not installed; "
                    "`pip install tensorboard` adds it."
                )
        self.restart_clock()

    def __enter__(self):
        if self._path:
            self._file = open(self._path, "a", newline="")
        return self

    def __exit__(self, *_):
        self.bar.close()
        if self._file:
            self._file.close()
        if self.events:
            self.events.close()

    def _remove_later_rows(self) -> None:
        rows = filter(None, read_metrics(self._path)[1:])
        kept = [row for row in rows if int(row[0]) <= self.step][: self.rows]
        if len(kept) < self.rows:
            logging.warning(
                "%s: is missing or damaged; %s of its %s rows up to step %s are lost.",
                self._path,
                self.rows - len(kept),
                self.rows,
                self.step,
            )
        with open_atomic(self._path, newline="") as file:
            csv.writer(file).writerows([self.columns, *kept])

    def step_done(self) -> None:
        self.step += 1
        self.bar.update()
        if self.step == self._first_step + 1:  # It built the graph.
            self.restart_clock()
            self.show_state()
        else:
            self._timed_steps += 1

    def restart_clock(self) -> None:
        """Starts measuring speed anew: what came before was not training."""
        self._since, self._timed_steps = time.perf_counter(), 0
        self.bar.unpause()

    def stop_clock(self) -> float | None:
        """Images/s since the clock was started, None without a step; restarts it.

        Exact once the device has done the steps.
        """
        seconds = time.perf_counter() - self._since
        speed = self._timed_steps * self.config.images_per_step / seconds or None
        self._speed = speed or self._speed
        self.restart_clock()
        return speed

    def show_state(self, state: str = "") -> None:
        """Shows a state such as 'saving' in the progress bar, or the newest metrics."""
        parts = [state] if state else self._shown(self._train, None)
        self.bar.set_postfix_str("  ".join(parts))

    def row(
        self,
        train_loss: float | None,
        held_out_loss: float | None,
        learning_rate: float,
        speed: float | None,
    ) -> None:
        """Writes and shows a row; losses per image, None where not measured."""
        self.rows += 1
        train, held_out = self._metric(train_loss), self._metric(held_out_loss)
        if train is not None or self._train_step != self.step:
            self._train, self._train_step = train, self.step
        if not self._file:
            return
        values = [train, held_out, learning_rate, speed]
        texts = ["" if value is None else f"{value:.8g}" for value in values]
        csv.writer(self._file).writerow([self.step, self.epoch, *texts])
        self._file.flush()
        if self.events:
            scalars = dict(zip(self.columns[2:], values, strict=True))
            self.events.scalars(self.step, scalars)
        if held_out is not None or self.prints_all or logging.level_info():
            begin = [f"step {self.step}/{self.last_step}", f"epoch {self.epoch}"]
            with tqdm.external_write_mode():
                say("  ".join(begin + self._shown(self._train, held_out)))
        self.show_state()

    def warn(self, line: str) -> None:
        """Prints a line on stderr, not within the progress bar."""
        tqdm.write(line, file=sys.stderr)

    def _metric(self, loss: float | None) -> float | None:
        """Loss per image as it is shown: bits/dim, or energy distance per pixel."""
        if loss is None:
            return None
        model = self.config.model
        if model.energy_distance:
            return loss / (model.image_shape[0] * model.image_shape[1])
        return bits_per_dim(loss, model.image_shape)

    def _shown(self, train: float | None, held_out: float | None) -> list[str]:
        values = {"train": train, self.config.held_out: held_out}
        parts = [
            f"{name} {value:.4f} {self.unit}"
            for name, value in values.items()
            if value is not None
        ]
        if self._speed:
            images_left = (self.last_step - self.step) * self.config.images_per_step
            seconds = min(round(images_left / self._speed), 10**12)
            time_left = timedelta(seconds=seconds)
            parts += [f"{self._speed:.1f} images/s", f"{time_left} left"]
        return parts


class Events:
    """TensorBoard events of a run."""

    def __init__(self, folder: str, config: Config, step: int):
        """The settings are logged at `step`, the one that the run resumes from."""
        os.makedirs(folder, exist_ok=True)
        self._writer = tf.summary.create_file_writer(tensorflow_path(folder))
        rows = [f"| {name} | {value} |" for name, value in config.settings().items()]
        table = "\n".join(["| setting | value |", "| --- | --- |", *rows])
        with self._writer.as_default(step):
            tf.summary.text("config", table)

    def scalars(self, step: int, values: dict[str, float | None]) -> None:
        """Values by name; None is skipped."""
        with self._writer.as_default(step):
            for name, value in values.items():
                if value is not None:
                    tf.summary.scalar(name, value)

    def grid(
        self, step: int, name: str, images: np.ndarray, columns: int | None = None
    ) -> None:
        """A grid of uint8 [N, H, W, C]."""
        with self._writer.as_default(step):
            grid = image_ops.visible(image_ops.tile(images, columns))
            tf.summary.image(name, grid[None])

    def close(self) -> None:
        self._writer.close()
