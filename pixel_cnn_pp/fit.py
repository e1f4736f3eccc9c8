"""Keras's fit, evaluate and predict for a Network."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import prng
from pixel_cnn_pp.checks import checked_tensor
from pixel_cnn_pp.config import ModelConfig
from pixel_cnn_pp.layers import fusion
from pixel_cnn_pp.likelihood import bits_per_dim
from pixel_cnn_pp.network import Network

# Arguments of compile() that a model does not take: it has its own loss and metric.
REJECTED = ("loss", "loss_weights", "metrics", "weighted_metrics")


class TrainableNetwork(Network):
    """A Network that Keras trains, scores and saves, on any tf.distribute strategy.

    `fit`, `evaluate` and `predict` take uint8 images [N, H, W, C], or the pair (images,
    labels) with labels int [N], as arrays, tensors or a tf.data.Dataset of batches.

    Loss: the mean of `image_loss` over the images, in nats, whatever their number in a
    batch or on a replica; metric: bits_per_dim. `predict` gives the log-probability in
    nats, [N]. Dropout masks follow from the model's seed, the optimizer's counter of
    steps, which is saved with it, and the replica.
    """

    def __init__(
        self,
        config: ModelConfig,
        seed: int = 0,
        initial_weights: bool = True,
        name: str = "trainable_network",
    ):
        super().__init__(config, seed if initial_weights else None, name)
        self.seed = seed  # Of dropout and of the energy distance.
        self.jit_compiles: bool | None = None  # See `PixelCNNPP.set_jit_compile`.

    @property
    def fuses(self) -> bool:
        """Whether XLA compiles activation, padding and gating of the full pass."""
        return bool(self.jit_compiles)

    def fit(self, x=None, y=None, batch_size: int | None = None, *args, **kwargs):
        """As keras.Model.fit; first initialises a model that has initial weights.

        The data-dependent initialisation takes the first batch. ValueError for images
        or labels that do not fit the model.
        """
        _check_no_weights(kwargs)
        if self.compiled:
            self._ensure_initialized(lambda: _first_batch(x, y, batch_size or 32))
        return super().fit(x, y, batch_size, *args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """As keras.Model.evaluate."""
        _check_no_weights(kwargs)
        return super().evaluate(*args, **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        """As keras.Model.train_on_batch; first initialises as `fit` does."""
        if self.compiled:
            self._ensure_initialized(lambda: keras.utils.pack_x_y_sample_weight(x, y))
        return super().train_on_batch(x, y, *args, **kwargs)

    def _ensure_initialized(self, first_batch: Callable) -> None:
        """Checks what compile() was given; initialises a model that is new."""
        given = self.get_compile_config()
        for name in REJECTED:
            if given.get(name) is not None:
                raise ValueError(
                    f"compile({name}=…): this model has its own loss, the negative "
                    "log-likelihood, and the metric bits_per_dim; give only optimizer."
                )
        if not self.is_initialized():
            images, labels = self._parts(first_batch())
            x = image_ops.to_float(self.check_images(images), self.num_levels)
            self.initialize(x, labels, (self.seed, prng.INITIALIZATION))

    def make_train_function(self, force: bool = False):
        """As keras.Model's; makes the optimizer's variables first, or the step would be
        traced twice."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        self._sum_in_float32()
        return super().make_train_function(force)

    def make_test_function(self, force: bool = False):
        """As keras.Model's."""
        self._sum_in_float32()
        return super().make_test_function(force)

    def _sum_in_float32(self) -> None:
        """Makes Keras's metric of the loss float32, whatever floatx is: the nats of
        some images exceed float16."""
        if self._loss_tracker.dtype != "float32":
            with self.distribute_strategy.scope():
                mean = keras.metrics.Mean(name="loss", dtype="float32")
            # As Keras sets it: not tracked, or there would be two.
            object.__setattr__(self, "_loss_tracker", mean)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: all is built. On several replicas Keras would average their parts of
        the first batch here, which fails if one has fewer images."""

    def is_initialized(self) -> bool:
        """False if every g is 1 and every b is 0, as they are made."""
        return any(
            (layer.g.numpy() != 1).any() or (layer.b.numpy() != 0).any()
            for layer in self.linear_layers
        )

    def train_step(self, data) -> dict[str, tf.Tensor]:
        images, labels = self._checked_parts(data)
        context = tf.distribute.get_replica_context()
        # Unlike `iterations` it counts every batch, also where gradients accumulate.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        with tf.device(prng.HOST):
            step = tf.cast(tf.convert_to_tensor(optimizer._iterations), tf.int32)
            seed = prng.fold_in(tf.constant([self.seed, prng.DROPOUT]), step)
            seed = prng.fold_in(seed, context.replica_id_in_sync_group)
        n = context.all_reduce("SUM", tf.shape(images)[0])
        # Around the gradients too: with remat they run the blocks again.
        with fusion.fusing(self.fuses):
            with tf.GradientTape() as tape:
                losses = self._checked_losses(images, labels, training=True, seed=seed)
                loss = tf.reduce_sum(losses) / tf.cast(n, tf.float32)
                loss = self.optimizer.scale_loss(loss)
            gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        return self._logs(losses)

    def test_step(self, data) -> dict[str, tf.Tensor]:
        images, labels = self._checked_parts(data)
        seed = None
        if self.energy_distance:
            seed = tf.constant([self.seed, prng.EVALUATION], tf.int32)
        with fusion.fusing(self.fuses):
            return self._logs(self._checked_losses(images, labels, seed=seed))

    def predict_step(self, data) -> tf.Tensor:
        self.check_has_likelihood()
        with fusion.fusing(self.fuses):
            return -self._checked_losses(*self._checked_parts(data))

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """The mean loss in nats per image and, for a likelihood, bits_per_dim."""
        result = super().get_metrics_result()
        if not self.energy_distance:
            bits = bits_per_dim(result["loss"], self.image_shape)
            result["bits_per_dim"] = bits
        return result

    def _logs(self, losses: tf.Tensor) -> dict[str, tf.Tensor]:
        mean_loss, *_ = self.metrics
        mean_loss.update_state(losses)
        return self.get_metrics_result()

    def _parts(self, data) -> tuple[Any, Any]:
        """Images and labels, or None, of what a batch holds."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        _check_no_weights({"sample_weight": weights})
        if labels is None and isinstance(images, tuple | list) and len(images) == 2:
            images, labels = images  # predict() takes no y.
        return images, labels

    def _checked_parts(self, data) -> tuple[tf.Tensor, tf.Tensor | None]:
        """`_parts` of tensors: types and shapes are checked, and labels as it runs."""
        images, labels = (
            tf.convert_to_tensor(part) if isinstance(part, np.ndarray) else part
            for part in self._parts(data)
        )
        if (
            not tf.is_tensor(images)
            or not self.takes(images.dtype.as_numpy_dtype)
            or not images.shape[1:].is_compatible_with(self.image_shape)
        ):
            raise ValueError(
                f"{_described(images)}: this model takes {self.image_dtype} images "
                f"{['N', *self.image_shape]}, or the pair (images, labels)."
            )
        images = tf.ensure_shape(images, [None, *self.image_shape])
        images = _checked_range("pixel values", images, self.num_levels)
        self.check_conditional(labels)
        if labels is None:
            return images, None
        if not labels.dtype.is_integer or labels.shape.rank != 1:
            raise ValueError(f"labels {_described(labels)}: must be integers [N].")
        labels = _checked_range("labels", labels, self.num_labels)
        return images, tf.saturate_cast(labels, tf.int32)

    def _checked_losses(self, images, labels, **settings) -> tf.Tensor:
        """`image_loss`, NaN where pixel values or labels are out of range: where XLA
        compiles the step, as Keras does on a GPU, the checks of them are skipped."""
        fits = tf.reduce_all(
            image_ops.in_range(images, self.num_levels), axis=[1, 2, 3]
        )
        if labels is not None:
            fits &= image_ops.in_range(labels, self.num_labels)
        losses = self.image_loss(images, labels, **settings)
        return tf.where(fits, losses, np.nan)


def _check_no_weights(given: dict) -> None:
    """Raises ValueError for weights, which Keras drops where there are no labels."""
    for name in ("sample_weight", "class_weight"):
        if given.get(name) is not None:
            raise ValueError(f"{name}: every image counts once; remove it.")


def _checked_range(name: str, values: tf.Tensor, count: int) -> tf.Tensor:
    """`values` if they are from 0 to count − 1, see `checked_tensor`."""
    message = f"{name}: must be from 0 to {count - 1}; lowest and highest are"
    fits = image_ops.in_range(values, count)
    lowest, highest = tf.reduce_min(values), tf.reduce_max(values)
    return checked_tensor(values, fits, message, lowest, highest)


def _described(batch) -> str:
    """'uint8 [None, 8, 8, 3]' of a tensor."""
    if not tf.is_tensor(batch):
        return f"a batch of {type(batch).__name__}"
    return f"{batch.dtype.name} {batch.shape.as_list()}"


def _first_batch(x, y, batch_size: int):
    """What the first batch of the arguments of `fit` holds."""
    if isinstance(x, tf.data.Dataset):
        return next(iter(x))
    if isinstance(x, keras.utils.PyDataset):
        return x[0]
    try:
        data = keras.utils.pack_x_y_sample_weight(x, y)
        return keras.tree.map_structure(lambda a: a[:batch_size], data)
    except TypeError:
        raise ValueError(
            f"{type(x).__name__}: the data-dependent initialisation needs arrays or a "
            "tf.data.Dataset; or call model.initialize(x) on images in [-1, 1] first."
        ) from None
