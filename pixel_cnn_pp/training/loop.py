"""The training loop: steps, epochs, checkpoints, metrics and samples."""

import contextlib
import os
import time
from shlex import quote

import tensorflow as tf

from pixel_cnn_pp import checkpoint, distribution, prng
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.evaluation import evaluator, samples
from pixel_cnn_pp.images import ImageSet
from pixel_cnn_pp.training.metrics import RunLog
from pixel_cnn_pp.training.optimizer import learning_rate_at
from pixel_cnn_pp.training.preemption import Diverged, ReadFailed, Stopped, StopSignals
from pixel_cnn_pp.training.state import TrainState, seed_for
from pixel_cnn_pp.training.step import TrainStep

# At most so many held-out images are completed for TensorBoard, so many times each.
COMPLETED_IMAGES, COMPLETIONS_EACH = 4, 4


class Loop:
    """The loop over steps and epochs, and what it writes under `save_dir`, which `lock`
    keeps others from meanwhile."""

    def __init__(
        self,
        config: Config,
        state: TrainState,
        train_images: ImageSet,
        held_out_images: ImageSet,
        save_dir: str,
        lock: contextlib.AbstractContextManager,
        strategy: tf.distribute.Strategy,
    ):
        self.config = config
        self.lock = lock
        self.state = state
        self.train_images = train_images
        self.held_out_images = held_out_images
        self.save_dir = save_dir
        self.strategy = strategy
        self.is_chief = distribution.is_chief(self.strategy)
        self.is_multi_worker = distribution.is_multi_worker(self.strategy)
        self.signals = StopSignals(
            distribution.make_any(self.strategy) if self.is_multi_worker else None
        )
        self.is_saved = True  # Whether no step is lost if the run ends now.
        self.writer = checkpoint.BackgroundWriter()
        self.saved_at = time.monotonic()  # When the last checkpoint was made.
        self.train_step = TrainStep(state, config, strategy)
        # Images that all replicas hold together.
        self.images_at_a_time = config.images_per_step // config.accumulate
        self.evaluator = evaluator.Evaluator(
            state.ema_model,
            self.images_at_a_time,
            strategy,
            seed_for(config, prng.EVALUATION),
        )

    def run(self) -> None:
        """Trains to the end and writes the run under `save_dir`.

        Raises Stopped after a signal and ReadFailed, the step finished and all saved;
        Diverged after `max_bad_steps` in a row; OSError if the disk is full.
        """
        if self.is_chief:
            os.makedirs(os.path.join(self.save_dir, checkpoint.FOLDER), exist_ok=True)
        with self.lock:
            if self.is_chief:
                self.config.save(os.path.join(self.save_dir, checkpoint.CONFIG))
                checkpoint.set_aside_newer(self.save_dir, self.state.count("step"))
            folder = self.save_dir if self.is_chief else None
            log = RunLog(folder, self.config, self.state, self._last_step())
            names_lost = distribution.naming_lost_workers(
                self.strategy,
                lambda: f"at step {log.step}; start all of them again with --resume.",
            )
            with self.strategy.scope(), self.signals, log, names_lost:
                self._run_and_save(log)

    def _run_and_save(self, log: RunLog) -> None:
        """Trains to the end, or saves where a signal or images that are lost end it."""
        try:
            self._run(log)
            log.show_state("saving")
            self.writer.wait()
        except (Stopped, ReadFailed) as end:
            if not self.is_saved:
                self._save(log)
            self.writer.wait()
            if isinstance(end, ReadFailed):
                raise
            if self.is_multi_worker:
                # A barrier: no worker ends before the first has saved, as a scheduler
                # may kill the rest once one has ended.
                self.signals.any_of(False)
            where = f" at step {log.step}; resume with {self._resume_command}"
            raise Stopped(end.signum, where) from end
        finally:
            self.writer.close()

    def _run(self, log: RunLog) -> None:
        if not checkpoint.list_checkpoints(self.save_dir):
            # The first checkpoint is complete before the first row is written, so rows
            # without a checkpoint mean a lost one.
            self._save(log)
        if self._is_finished():
            if self.is_chief and not self._has_steps_left():
                most = self.config.max_steps
                by = f" (--max_steps={most})" if most and log.step >= most else ""
                end = f"step {log.step}{by}"
                print(f"nothing to do: the run has ended at {end}", flush=True)
            if not os.path.exists(self._samples_path(log.step) + ".png"):
                self._write_samples(log)
        first_step = log.step + 1
        log.show_state("building the graph")
        # A run killed after its last step still lacks its last row, checkpoint or
        # samples.
        while self._has_steps_left() or not self._is_finished():
            stops = None
            for batch in self._batches() if self._has_steps_left() else ():
                # While the first step builds its graph, a signal may end the process at
                # once.
                self.signals.may_stop_at_once = log.step + 1 == first_step
                previous_stops = stops
                stops = self.train_step(batch, self.signals.asked).stops
                self.signals.may_stop_at_once = self.is_saved = False
                log.step_done()
                self._after_step(log)
                # Reading the previous step's flag does not wait for the step just
                # started.
                self.signals.check_step(previous_stops)
                if log.step == self.config.max_steps:
                    break
            self._check_divergence(log)
            if self._epoch_is_over():
                self._end_epoch(log)
            else:
                self._report(log, "interval", with_held_out=True)
                self._finish(log)

    @property
    def _resume_command(self) -> str:
        return f"python train.py --resume --save_dir={quote(self.save_dir)}"

    def _last_step(self) -> int:
        """The step at which max_epochs or max_steps ends the run."""
        config, count = self.config, self.state.count
        epochs_left = config.max_epochs - count("epoch")
        steps_left = epochs_left * (config.num_images // config.images_per_step)
        steps_left -= count("position") // config.images_per_step
        last_step = count("step") + steps_left
        return min(last_step, config.max_steps or last_step)

    def _has_steps_left(self) -> bool:
        return self.state.count("step") < self._last_step()

    def _is_finished(self) -> bool:
        """Whether the newest row, checkpoint and samples are of this step."""
        return self.state.count("closed_step") == self.state.count("step")

    def _epoch_is_over(self) -> bool:
        left = self.config.num_images - self.state.count("position")
        return left < self.config.images_per_step

    def _batches(self):
        """The rest of the epoch's batches, the last incomplete one dropped."""
        epoch, position = self.state.count("epoch"), self.state.count("position")
        examples = self.train_images.examples(epoch, self.config.seed, position)
        batches = examples.batch(self.config.images_per_step, drop_remainder=True)
        with self._reading():
            yield from distribution.distribute(batches, self.strategy)

    @contextlib.contextmanager
    def _reading(self):
        """Within, TensorFlow's errors of images become ReadFailed."""
        try:
            yield
        except tf.errors.OpError as error:
            if distribution.is_of_lost_worker(error):
                raise
            raise ReadFailed(error, self._resume_command) from error

    def _after_step(self, log: RunLog) -> None:
        config = self.config
        if log.step % min(config.log_interval, config.max_bad_steps) == 0:
            self._check_divergence(log)
        if log.step % config.log_interval == 0:
            self._report(log, "interval")
            self._clear("interval_loss", "interval_images")
        # The checkpoint of the last step, or of an epoch's last step, is written with
        # its row.
        is_due = self._saves_at(log.step) and log.step != config.max_steps
        if is_due and not self._epoch_is_over():
            self._save(log)
        self.writer.check()

    def _saves_at(self, step: int) -> bool:
        """Whether it is time for a checkpoint by --save_steps or --save_minutes.

        The time is that of this process; other workers write no checkpoints."""
        steps, seconds = self.config.save_steps, 60 * self.config.save_minutes
        is_due = steps > 0 and step % steps == 0
        if self.is_chief and seconds > 0:
            is_due = is_due or time.monotonic() - self.saved_at >= seconds
        return is_due and not self.state.count("bad_steps")

    def _end_epoch(self, log: RunLog) -> None:
        """A row of metrics; after epoch 0 and every --save_interval epochs from there,
        samples and a checkpoint that begins with the next epoch."""
        state = self.state
        epoch = state.count("epoch")
        self._report(log, "epoch", with_held_out=True)
        self._clear("interval_loss", "interval_images", "position")
        self._clear("epoch_loss", "epoch_images")
        state.counters["epoch"].assign(epoch + 1)
        log.epoch = epoch + 1
        if epoch % self.config.save_interval == 0 or not self._has_steps_left():
            self._finish(log)
        elif self._saves_at(log.step):
            self._save(log)
        log.restart_clock()
        log.show_state()

    def _mean_loss(self, since: str) -> float | None:
        """Of the training images since the last row or the start of the epoch."""
        images = self.state.count(f"{since}_images")
        if not images:
            return None
        return float(self.state.counters[f"{since}_loss"].numpy()) / images

    def _held_out_loss(self) -> float:
        examples = self.held_out_images.examples()
        with self._reading():
            return self.evaluator.mean_loss(examples, self.signals.check)

    def _check_divergence(self, log: RunLog) -> None:
        """Reports bad steps; raises Diverged after max_bad_steps in a row, and saves
        nothing.

        Reading the counts waits for the step, so they are not read after each."""
        report = self.train_step.bad_report()
        if report and self.is_chief:
            log.warn(report)
        bad = self.state.count("bad_steps")
        if bad >= self.config.max_bad_steps:
            raise Diverged(
                f"--max_bad_steps={self.config.max_bad_steps}: the loss or the "
                f"gradients of the last {bad} steps, up to step {log.step}, were not "
                "finite; resume from the last checkpoint with a lower --learning_rate."
            )

    def _clear(self, *names: str) -> None:
        for name in names:
            counter = self.state.counters[name]
            counter.assign(tf.zeros_like(counter))

    def _report(self, log: RunLog, since: str, with_held_out: bool = False) -> None:
        """A row with the training loss since the last row or the start of the epoch."""
        if not log.rows:
            self.writer.wait()  # For the checkpoint that the run began with.
        train_loss = self._mean_loss(since)  # Waits for the steps to be done.
        speed = log.stop_clock()
        if with_held_out:
            log.show_state("testing")
        held_out_loss = self._held_out_loss() if with_held_out else None
        config = self.config
        step = self.state.counters["step"] - 1  # The rate of the step just done.
        rate = learning_rate_at(step, config.learning_rate, config.lr_decay)
        log.row(train_loss, held_out_loss, float(rate), speed)
        log.restart_clock()

    def _finish(self, log: RunLog) -> None:
        """The checkpoint and the samples of the end of an epoch or of the run."""
        self.state.counters["closed_step"].assign(log.step)
        self._save(log)
        self.signals.check()
        self._write_samples(log)

    def _save(self, log: RunLog) -> None:
        self.state.counters["rows"].assign(log.rows)
        if self.is_chief:
            self.writer.write(self.save_dir, log.step, self.state.groups())
        self.saved_at = time.monotonic()
        self.signals.may_stop_at_once = self.is_saved = True
        log.restart_clock()

    def _samples_path(self, step: int) -> str:
        return os.path.join(self.save_dir, "samples", f"step-{step:07d}")

    def _write_samples(self, log: RunLog) -> None:
        """Samples of the EMA model: the first 100 as a PNG, enlarged, all as an NPZ.

        TensorBoard shows them, and completions of the lower halves of held-out images.
        """
        config, model = self.config, self.state.ema_model
        n = config.num_samples * self.images_at_a_time
        if not (n and log.step and self.is_chief):
            return

        def show_progress(done: int, n: int) -> None:
            log.show_state(f"sampling {done}/{n}")

        show_progress(0, n)
        seed = seed_for(config, prng.SAMPLES, log.step).numpy()
        path = self._samples_path(log.step)
        scale = image_ops.scale_to_see(config.model.image_shape)
        settings = samples.SampleSettings(seed, progress=show_progress, scale=scale)
        grid_images = samples.save_samples(model, n, path, settings)
        if log.events:
            log.events.grid(log.step, "samples", grid_images)
            log.show_state("completing")
            seed = seed_for(config, prng.COMPLETIONS, log.step).numpy()
            shape = config.model.image_shape
            keep = image_ops.first_rows(shape[0] // 2, shape)
            # No more than the samples: a larger batch might have to be compiled.
            num_images = min(n, COMPLETED_IMAGES)
            num_each = max(1, min(n // COMPLETED_IMAGES, COMPLETIONS_EACH))
            settings = samples.SampleSettings(seed)
            completed = samples.complete_images(
                model, self.held_out_images, num_images, keep, num_each, settings
            )
            cells = samples.completion_cells(model, *completed, keep)
            columns = samples.EXTRA_CELLS + num_each
            log.events.grid(log.step, "completions", cells, columns)
