"""Runs and steps of a very small model, for the tests of training."""

import csv

import numpy as np
import tensorflow as tf

import data
from pixel_cnn_pp import PixelCNNPP, checkpoint, distribution
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training import run as training
from pixel_cnn_pp.training.optimizer import start_ema
from pixel_cnn_pp.training.state import TrainState
from pixel_cnn_pp.training.step import TrainStep

SMALL = {
    "image_shape": (8, 8, 3),
    "nr_resnet": 1,
    "nr_filters": 4,
    "nr_logistic_mix": 2,
    "batch_size": 4,
    "num_samples": 0,
    "log_interval": 3,
    "nr_gpu": 1,
}


def random_batch(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)


def arrays(variables):
    return {name: variable.numpy() for name, variable in variables.items()}


def steps_on(
    replicas, batch_size, dropout_p, images, steps=3, strategy=None, **changes
):
    """State after some steps on the same 16 images, and their losses."""
    changes |= {"nr_gpu": replicas, "batch_size": batch_size, "dropout_p": dropout_p}
    config = Config.of(**(SMALL | changes))
    strategy = strategy or distribution.make_strategy(config.nr_gpu)
    assert strategy.num_replicas_in_sync == replicas
    state = TrainState(config, strategy)
    with strategy.scope():
        state.model.initialize((images.astype(np.float32) - 127.5) / 127.5)
        start_ema(state.ema_parameters, state.parameters)
        step = TrainStep(state, config, strategy)
        examples = tf.data.Dataset.from_tensor_slices({"image": images})
        batches = distribution.distribute(examples.repeat(steps).batch(16), strategy)
        losses = [float(step(batch).loss) for batch in batches]
    return state, losses


def run(npz_path, save_dir, load_params=False, **changes):
    """Trains the smallest network without XLA, as far as `changes` say nothing else."""
    fast = {"field": "11x5", "jit_compile": False}
    fast |= {"dropout_p": 0.5, "init_batch_size": 8}
    config = Config.of(**(SMALL | fast | changes))
    splits = [
        data.load("npz", npz_path, split, labels=config.model.num_labels is not None)
        for split in ("train", "test")
    ]
    loop = training.prepare(config, *splits, str(save_dir), load_params)
    loop.run()
    return loop.state


def write_untrained(save_dir, **changes):
    """A run folder of a model as it was made: all that evaluate.py needs."""
    config = Config.of(**(SMALL | changes))
    save_dir.mkdir()
    config.save(str(save_dir / checkpoint.CONFIG))
    averages = PixelCNNPP(**vars(config.model)).tf_variables()
    checkpoint.write(str(save_dir), 1, {"averages": averages})


def rows(save_dir, column=None):
    with open(save_dir / "metrics.csv", newline="") as file:
        found = list(csv.DictReader(file))
    return [row[column] for row in found] if column else found
