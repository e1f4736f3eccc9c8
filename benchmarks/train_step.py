"""Speed of the training step, beside what plain work reaches here.

`python benchmarks/train_step.py -q 5 -n 160 -b 8` prints one row; `--output_json=FILE`
writes its results. The ceiling is a float32 conv2d 2×3, 320 → 160 channels, on
[16, 32, 32], timed in the same process before and after the steps. On a GPU it is a
product of two 8192×8192 matrices in the step's type, and memory is the GPU's.
Operations are those of the graph around the functions that a replica runs.
"""

import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import cli  # Before TensorFlow: it sets its log level.

# isort: split
import kernels
import numpy as np
import report
import size_flags
import tensorflow as tf
from absl import app, flags
from convolution import ceiling, gflop_per_image, seconds

from pixel_cnn_pp import distribution
from pixel_cnn_pp.config import PRECISIONS, Config
from pixel_cnn_pp.training.state import TrainState
from pixel_cnn_pp.training.step import TrainStep, set_graph_optimizer

flags.DEFINE_integer("image_size", 32, "Side of the images in pixels.", lower_bound=1)
flags.DEFINE_float("dropout_p", 0.5, "Share that is dropped.", short_name="p")
flags.DEFINE_enum("precision", "float32", PRECISIONS, "As in train.py.")
flags.DEFINE_bool("remat", False, "Compute blocks again for gradients, as train.py.")
flags.DEFINE_integer("accumulate", 1, "Batches of a step, as in train.py.")
flags.DEFINE_bool("jit_compile", None, "Compile with XLA, as in train.py.")
flags.DEFINE_integer("replicas", 1, "GPUs, or CPUs that share this one's cores.")
flags.DEFINE_integer(
    "steps", 10, "Timings, whose median counts: of a step, on a GPU the mean of ten."
)
flags.DEFINE_bool("kernels", False, "Print the number and time of GPU kernels by kind.")
cli.define_tf32(Config.tf32)
flags.adopt_module_key_flags(report)
flags.adopt_module_key_flags(size_flags)
FLAGS = flags.FLAGS


def config_from_flags() -> Config:
    """The settings of the run whose step is timed."""
    return Config.of(
        image_shape=(FLAGS.image_size, FLAGS.image_size, 3),
        nr_resnet=FLAGS.nr_resnet,
        nr_filters=FLAGS.nr_filters,
        batch_size=FLAGS.batch_size,
        dropout_p=FLAGS.dropout_p,
        precision=FLAGS.precision,
        remat=FLAGS.remat,
        accumulate=FLAGS.accumulate,
        jit_compile=FLAGS.jit_compile,
        nr_gpu=FLAGS.replicas,
    )


def print_kernels(work) -> None:
    for i, (kind, (number, ms)) in enumerate(kernels.profile(work).items()):
        columns = {"kernels": kind, "number": f"{number:.0f}", "ms": f"{ms:.1f}"}
        report.row(columns, is_first=i == 0)


def main(argv):
    if FLAGS.kernels and not tf.config.list_physical_devices("GPU"):
        sys.exit("error: --kernels: TensorFlow finds no GPU here; remove the flag.")
    if FLAGS.replicas > 1 and not tf.config.list_physical_devices("GPU"):
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * FLAGS.replicas
        tf.config.set_logical_device_configuration(cpu, parts)
    cli.set_devices(FLAGS.replicas, FLAGS.tf32)
    set_graph_optimizer()
    before = ceiling(FLAGS.precision)
    report.forget_peak()
    config = config_from_flags()
    strategy = distribution.make_strategy(config.nr_gpu)
    n = config.step_images(FLAGS.replicas)
    images = np.random.default_rng(0).integers(
        0, 256, (n, *config.model.image_shape), np.uint8
    )
    start = time.perf_counter()
    state = TrainState(config, strategy)
    with strategy.scope():
        step = TrainStep(state, config, strategy)
        examples = tf.data.Dataset.from_tensors({"image": images})
        (batch,) = distribution.distribute(examples, strategy)
        seconds(lambda: step(batch))
        first = time.perf_counter() - start
        # Training does not wait for each step of a GPU either.
        stretch = 10 if distribution.has_gpu() else 1
        times = [seconds(lambda: step(batch), stretch) for _ in range(FLAGS.steps)]
        peak_gb = report.peak_gb()
        if FLAGS.kernels:
            print_kernels(lambda: seconds(lambda: step(batch)))
        graph = step.compiled.get_concrete_function(batch, tf.constant(0.0)).graph
    rate = n / float(np.median(times))
    # Gradients take twice the forward pass.
    gflop = 3 * gflop_per_image(state.model)
    results = {
        "nr_resnet": config.model.nr_resnet,
        "nr_filters": config.model.nr_filters,
        "batch_size": n,
        "precision": config.precision,
        "remat": config.remat,
        "accumulate": config.accumulate,
        "jit_compile": config.jit_compile,
        "replicas": FLAGS.replicas,
        "images_per_s": rate,
        "gflop_per_image": gflop,
        "gflop_per_s": rate * gflop,
        "ceiling_gflop_per_s": max(before, ceiling(FLAGS.precision)),
        "first_step_s": first,
        "operations": len(graph.get_operations()),
        "peak_gb": peak_gb,
    }
    report.speed(
        results,
        **{
            "first step": f"{first:.0f} s",
            "memory": f"{results['peak_gb']:.1f} GB",
            "operations": str(results["operations"]),
        },
    )


if __name__ == "__main__":
    app.run(main)
