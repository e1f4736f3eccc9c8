"""The official network, loss, Adam and Polyak averages as a graph of TensorFlow 2.

For official_step.py and official_curve.py, after
`git clone https://github.com/openai/pixel-cnn DIR`; the official code is not changed.
"""

import contextlib
import functools
import importlib
import pathlib
import sys
import types

import numpy as np
import tensorflow as tf
from absl import flags

flags.DEFINE_string("checkout", None, "Folder of a clone of openai/pixel-cnn.")
flags.DEFINE_float("dropout_p", 0.5, "Dropout probability.", short_name="p")
flags.mark_flag_as_required("checkout")
FLAGS = flags.FLAGS

v1 = tf.compat.v1


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
    ours = _take_modules("pixel_cnn_pp")
    sys.modules["tensorflow"] = v1
    sys.modules["tensorflow.contrib.framework.python.ops"] = contrib_ops()
    sys.path.insert(0, checkout)
    try:
        nn = importlib.import_module("pixel_cnn_pp.nn")
        return nn, importlib.import_module("pixel_cnn_pp.model")
    finally:
        sys.path.remove(checkout)
        sys.modules["tensorflow"] = tf
        _take_modules("pixel_cnn_pp")
        sys.modules.update(ours)


def _take_modules(package: str) -> dict[str, types.ModuleType]:
    """Removes the modules of a package from those that are imported; returns them."""
    names = [name for name in sys.modules if name.split(".")[0] == package]
    return {name: sys.modules.pop(name) for name in names}


def to_float(images: np.ndarray) -> np.ndarray:
    """Pixel values 0 … 255 to float32 in [-1, 1], as the official train.py."""
    return ((images - 127.5) / 127.5).astype(np.float32)


class Training:
    """The graph of the official train.py on one device, in the default graph.

    `images` of `step` and `losses` are float32 in [-1, 1], [batch_size, …]; `losses`
    are in nats, [batch_size] by the raw parameters and by the Polyak averages.
    """

    def __init__(self, shape: tuple[int, int, int], **options):
        nn, model = import_official(FLAGS.checkout)
        template = v1.make_template("model", model.model_spec)
        self._template = functools.partial(template, **options)
        self._session = v1.Session()
        self._images = v1.placeholder(tf.float32, (FLAGS.batch_size, *shape))
        self._rate = v1.placeholder(tf.float32, ())
        # First: it makes the variables.
        self._template(self._images, init=True, dropout_p=FLAGS.dropout_p)
        parameters = v1.trainable_variables()
        averages = v1.train.ExponentialMovingAverage(decay=0.9995)
        average = averages.apply(parameters)
        output = self._template(self._images, dropout_p=FLAGS.dropout_p)
        loss = nn.discretized_mix_logistic_loss(self._images, output)
        update = nn.adam_updates(
            parameters,
            v1.gradients(loss, parameters),
            lr=self._rate,
            mom1=0.95,
            mom2=0.9995,
        )
        self._step = [loss, update, average]
        self._losses = [
            nn.discretized_mix_logistic_loss(
                self._images,
                self._template(self._images, ema=ema, dropout_p=0.0),
                sum_all=False,
            )
            for ema in (None, averages)
        ]

    def initialize(self, images: np.ndarray) -> None:
        """Data-dependent initialisation on any number of images."""
        batch = v1.placeholder(tf.float32, images.shape)
        initialized = self._template(batch, init=True, dropout_p=FLAGS.dropout_p)
        self._session.run(v1.global_variables_initializer())
        self._session.run(initialized, {batch: images})

    def step(self, images: np.ndarray, learning_rate: float) -> float:
        """The loss of the batch in nats, after one update of all parameters."""
        feed = {self._images: images, self._rate: learning_rate}
        return self._session.run(self._step, feed)[0]

    def losses(self, images: np.ndarray) -> list[np.ndarray]:
        return self._session.run(self._losses, {self._images: images})
