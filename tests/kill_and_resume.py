"""Kills a training run at random moments and resumes it, again and again.

`python tests/kill_and_resume.py --kills=30` compares what it comes to with the run that
was never killed: every variable of the last checkpoint, every row of metrics.csv (but
for the speeds) and every sample, bit for bit. Prints how the lives ended.
"""

import csv
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import tensorflow as tf
from absl import app, flags
from child_processes import Child

from pixel_cnn_pp import checkpoint

# Every second step ends in a checkpoint, so that many a kill falls into its writing.
RUN = (
    "-d shapes --image_size=8 -n 4 -m 2 -b 32 -u 8 -ns 1 -t 1 --field=11x5 "
    "--log_interval=3 --save_steps=2 --nojit_compile"
)

flags.DEFINE_integer("kills", 30, "How often the run is killed.", lower_bound=1)


def start(save_dir: pathlib.Path, max_steps: int) -> Child:
    resume = ["-r"] if (save_dir / "config.json").exists() else []
    line = [*RUN.split(), "-o", save_dir, f"--max_steps={max_steps}", *resume]
    return Child(ROOT / "train.py", *line)


def finish(process: Child) -> None:
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr


def unfinished_files(save_dir: pathlib.Path) -> list[str]:
    """Of checkpoints that were being written when the run was killed."""
    return [path.name for path in (save_dir / "checkpoints").glob("*_temp*")]


def facts(save_dir: pathlib.Path) -> dict:
    """All that a run comes to, by name."""
    with open(save_dir / "metrics.csv", newline="") as file:
        rows = [row[:5] for row in csv.reader(file)]
    prefix = checkpoint.list_checkpoints(save_dir)[0][1]
    reader = tf.train.load_checkpoint(prefix)
    found = {
        key: reader.get_tensor(key).tobytes()
        for key, shape in reader.get_variable_to_shape_map().items()
        if not key.startswith("_CHECKPOINTABLE")
    }
    for path in sorted((save_dir / "samples").glob("*.npz")):
        found[path.name] = np.load(path)["images"].tobytes()
    return found | {f"row {i} of metrics.csv": row for i, row in enumerate(rows)}


def newest(save_dir: pathlib.Path) -> int:
    """Step of the newest checkpoint, 0 without one."""
    return max((step for step, _ in checkpoint.list_checkpoints(save_dir)), default=0)


def wait_for_checkpoint(
    process, save_dir: pathlib.Path, step: int, most: float = float("inf")
) -> None:
    """Until there is one after `step`, `most` seconds at most."""
    end = time.monotonic() + most
    while process.poll() is None and newest(save_dir) <= step:
        if time.monotonic() > end:
            break
        time.sleep(0.01)


def kill_and_resume(kills: int, seed: int, folder: pathlib.Path) -> list[str]:
    """Runs it all; returns how each life ended. AssertionError where a fact differs."""
    moments = random.Random(seed)
    # Some steps more than the lives take, for a kill that comes late.
    whole, killed, max_steps = folder / "whole", folder / "killed", 8 * kills + 21
    begun = time.monotonic()
    process = start(whole, max_steps)
    wait_for_checkpoint(process, whole, 0)
    start_takes = time.monotonic() - begun
    finish(process)
    step_takes = (time.monotonic() - begun - start_takes) / max_steps
    ends = []
    for life in range(kills):
        signum = signal.SIGTERM if life % 3 == 2 else signal.SIGKILL
        process, before = start(killed, max_steps), newest(killed)
        if life % 3 == 0:  # As it starts.
            most = moments.uniform(0, start_takes)
            wait_for_checkpoint(process, killed, before, most)
        else:
            wait_for_checkpoint(process, killed, before + moments.choice([0, 2, 4]))
            time.sleep(moments.uniform(0, step_takes))
        process.send_signal(signum)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode in (-signum, 128 + signum), stderr
        torn = ", a checkpoint half written" if unfinished_files(killed) else ""
        end = f"{signal.Signals(signum).name} after step {newest(killed)}{torn}"
        ends.append(end)
    finish(start(killed, max_steps))
    ours, theirs = facts(killed), facts(whole)
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    differing = [name for name in theirs if ours[name] != theirs[name]]
    assert not differing, differing
    assert not unfinished_files(killed)
    return ends


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        ends = kill_and_resume(flags.FLAGS.kills, 0, pathlib.Path(folder))
    print(*ends, sep=os.linesep)
    print(f"{len(ends)} lives; the run is the one never killed, bit for bit.")


if __name__ == "__main__":
    app.run(main)
