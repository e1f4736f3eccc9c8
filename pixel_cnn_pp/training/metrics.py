"""What a run tells: metrics.csv, the progress line, TensorBoard events."""

import csv
import os
import time
from datetime import timedelta

from absl import logging

from pixel_cnn_pp.config import Config
from pixel_cnn_pp.files import open_atomic
from pixel_cnn_pp.likelihood import bits_per_dim
from pixel_cnn_pp.progress import ProgressLine
from pixel_cnn_pp.training.events import Events

METRICS = "metrics.csv"
REFRESH = 1.0  # Seconds between two looks of the progress line within a row.


class RunLog:
    """Rows of metrics with the time they took; the steps of this process are counted.

    On a terminal a progress line says what goes on, and a row with a test figure stays.
    Elsewhere such rows alone are printed. --verbosity=0 or more prints every row.

    Opened with the step that the run goes on from and the rows that it had told: later
    rows of an earlier process are taken back, because what they tell is done again.
    """

    def __init__(
        self,
        save_dir: str | None,
        config: Config,
        step: int,
        epoch: int,
        rows: int,
        last_step: int,
        images_per_step: int,
    ):
        """`images_per_step`: images that a step takes on all replicas together.

        Without a `save_dir` nothing is told: another worker of the run does it.
        """
        self.config = config
        self.step = self._first_step = step
        self.epoch = epoch
        self.rows = rows
        self.last_step = last_step
        self.images_per_step = images_per_step
        name = "energy_distance" if config.model.energy_distance else "bits_per_dim"
        self.unit = name.replace("_per_", "/").replace("_", " ")
        self.columns = [
            "step",
            "epoch",
            f"train_{name}",
            f"test_{name}",
            "learning_rate",
            "images_per_sec",
        ]
        self.progress = ProgressLine(save_dir is not None)
        self.events = self._path = self._file = None
        if save_dir is not None:
            self._path = os.path.join(save_dir, METRICS)
            self._take_back_later_rows()
            self.events = Events(os.path.join(save_dir, "logs"), config, step)
        # The newest training figure, the step that it was taken at, the newest speed.
        self._train = self._train_step = self._speed = None
        self.restart_clock()

    def __enter__(self):
        if self._path:
            self._file = open(self._path, "a", newline="")
        self.progress.__enter__()
        return self

    def __exit__(self, *_):
        self.progress.__exit__()
        if self._file:
            self._file.close()
            self.events.close()

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
        with open_atomic(self._path, newline="") as file:
            csv.writer(file).writerows([self.columns, *kept])

    def restart_clock(self) -> None:
        """Starts measuring speed anew: what came before was not training."""
        self._since = self._shown_at = time.perf_counter()
        self._clocked_steps = 0

    def stop_clock(self) -> float | None:
        """Images/s since the clock was started, None without a step; starts it anew.

        True where the device has done the steps that were given to it.
        """
        speed = self._speed_so_far()
        self._speed = speed or self._speed
        self.restart_clock()
        return speed

    def _speed_so_far(self) -> float | None:
        seconds = time.perf_counter() - self._since
        return self._clocked_steps * self.images_per_step / seconds or None

    def step_done(self) -> None:
        self.step += 1
        if self.step == self._first_step + 1:  # It built the graph.
            self.restart_clock()
            self.doing()
            return
        self._clocked_steps += 1
        if self.progress.is_live and time.perf_counter() > self._shown_at + REFRESH:
            self.doing()

    def doing(self, what: str = "") -> None:
        """Rewrites the progress line, where there is one: the figures, or `what`."""
        self._shown_at = time.perf_counter()
        if self.progress.is_live:
            figures = [what] if what else self._figures(self._train, None)
            self.progress.show(self._line(figures))

    def _figure(self, loss: float | None) -> float | None:
        """Loss per image as it is shown: bits/dim, or energy distance per pixel."""
        if loss is None:
            return None
        shape = self.config.model.image_shape
        if self.config.model.energy_distance:
            return loss / (shape[0] * shape[1])
        return bits_per_dim(loss, shape)

    def row(
        self,
        train_loss: float | None,
        test_loss: float | None,
        learning_rate: float,
        speed: float | None,
    ) -> None:
        """Writes a row and tells it; losses per image, None where not measured."""
        self.rows += 1
        train, test = self._figure(train_loss), self._figure(test_loss)
        if train is not None or self._train_step != self.step:
            self._train, self._train_step = train, self.step
        if not self._file:
            return
        values = [train, test, learning_rate, speed]
        shown = ["" if value is None else f"{value:.8g}" for value in values]
        csv.writer(self._file).writerow([self.step, self.epoch, *shown])
        self._file.flush()
        self.events.scalars(self.step, dict(zip(self.columns[2:], values, strict=True)))
        if test is not None or logging.level_info():
            self.progress.keep(self._line(self._figures(self._train, test)))
        self.doing()

    def _figures(self, train: float | None, test: float | None) -> list[str]:
        parts = [f"train {train:.4f} {self.unit}"] if train is not None else []
        parts += [f"test {test:.4f} {self.unit}"] if test is not None else []
        # Before the first row that of the steps which were given to the device.
        if speed := self._speed or self._speed_so_far():
            left = (self.last_step - self.step) * self.images_per_step / speed
            time_left = timedelta(seconds=round(left))
            parts += [f"{speed:.1f} images/s", f"{time_left} left"]
        return parts

    def _line(self, parts: list[str]) -> str:
        begin = [f"step {self.step}/{self.last_step}", f"epoch {self.epoch}"]
        return "  ".join(begin + parts)
