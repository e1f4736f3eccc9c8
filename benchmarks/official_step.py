"""Speed of the official code's training step, beside what a plain convolution reaches.

After `git clone https://github.com/openai/pixel-cnn DIR`,
`python benchmarks/official_step.py --checkout=DIR -q 5 -n 160 -b 8` prints one row, as
train_step.py beside this file does. Its network, loss, Adam and averages run as they
are, as a graph of TensorFlow 2.
"""

import contextlib
import functools
import importlib
import pathlib
import sys
import time
import types

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import report
import size_flags
import tensorflow as tf
from absl import app, flags

import cli  # noqa: F401  # Before TensorFlow: it sets its log level.

flags.DEFINE_string("checkout", None, "Folder of a clone of openai/pixel-cnn.")
flags.DEFINE_float("dropout_p", 0.5, "Share that is dropped.", short_name="p")
flags.DEFINE_integer("steps", 10, "Steps that are timed; their median counts.")
flags.mark_flag_as_required("checkout")
flags.adopt_module_key_flags(report)
flags.adopt_module_key_flags(size_flags)
FLAGS = flags.FLAGS


def contrib_ops() -> types.ModuleType:
    """What the official code imports of TensorFlow 1's contrib: default arguments."""
    defaults: list[dict] = [{}]

    def add_arg_scope(function):
        @functools.wraps(function)
        def call(*args, **given):
            return function(*args, **(defaults[-1].get(function.__name__, {}) | given))

        return call

    @contextlib.contextmanager
    def arg_scope(functions, **given):
        inner = dict(defaults[-1])
        for name in (function.__name__ for function in functions):
            inner[name] = inner.get(name, {}) | given
        defaults.append(inner)
        try:
            yield
        finally:
            defaults.pop()

    ops = types.ModuleType("tensorflow.contrib.framework.python.ops")
    ops.add_arg_scope, ops.arg_scope = add_arg_scope, arg_scope
    return ops


def import_official(checkout: str):
    """The modules nn and model of the official package, which has the name of ours."""
    if not (pathlib.Path(checkout) / "pixel_cnn_pp" / "nn.py").is_file():
        sys.exit(f"--checkout={checkout}: holds no pixel_cnn_pp/nn.py; clone it there.")
    sys.modules["tensorflow"] = tf.compat.v1
    sys.modules["tensorflow.contrib.framework.python.ops"] = contrib_ops()
    sys.path.insert(0, checkout)
    try:
        nn = importlib.import_module("pixel_cnn_pp.layers.convolution")
        return nn, importlib.import_module("pixel_cnn_pp.model")
    finally:
        sys.path.remove(checkout)
        sys.modules["tensorflow"] = tf
        for name in [name for name in sys.modules if name.startswith("pixel_cnn_pp")]:
            del sys.modules[name]


def make_step(session, nn, model):
    """The official train.py's training op on one device, after its initialisation."""
    v1 = tf.compat.v1
    n = FLAGS.batch_size
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3))
    x = v1.placeholder(tf.float32, (n, 32, 32, 3))
    feed = {x: (images - 127.5) / 127.5}
    options = {"nr_resnet": FLAGS.nr_resnet, "nr_filters": FLAGS.nr_filters}
    options["dropout_p"] = FLAGS.dropout_p
    template = v1.make_template("model", model.model_spec)
    initialized = template(x, init=True, **options)
    parameters = v1.trainable_variables()
    averages = v1.train.ExponentialMovingAverage(decay=0.9995)
    average = averages.apply(parameters)
    loss = nn.discretized_mix_logistic_loss(x, template(x, **options))
    gradients = v1.gradients(loss, parameters)
    update = nn.adam_updates(parameters, gradients, lr=0.001, mom1=0.95, mom2=0.9995)
    session.run(v1.global_variables_initializer())
    session.run(initialized, feed)
    return lambda: session.run([loss, update, average], feed)[0]


def main(argv):
    nn, model = import_official(FLAGS.checkout)
    from convolution import ceiling, gflop_per_image, seconds

    from pixel_cnn_pp import PixelCNNPP

    before = ceiling()
    n = FLAGS.batch_size
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        start = time.perf_counter()
        step = make_step(session, nn, model)
        seconds(step)
        first = time.perf_counter() - start
        times = [seconds(step) for _ in range(FLAGS.steps)]
        peak = report.peak_gb()
    rate = n / float(np.median(times))
    ours = PixelCNNPP(nr_resnet=FLAGS.nr_resnet, nr_filters=FLAGS.nr_filters)
    gflop = 3 * gflop_per_image(ours)  # As train_step.py counts them.
    found = {
        "nr_resnet": FLAGS.nr_resnet,
        "nr_filters": FLAGS.nr_filters,
        "batch_size": n,
        "images_per_s": rate,
        "gflop_per_s": rate * gflop,
        "ceiling_gflop_per_s": max(before, ceiling()),
        "first_step_s": first,
        "peak_gb": peak,
    }
    report.speed(
        found,
        **{"first step": f"{first:.0f} s", "memory": f"{peak:.1f} GB"},
    )


if __name__ == "__main__":
    app.run(main)
