"""Keras's fit, evaluate and predict for a Network."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import prng
from pixel_cnn_pp.layers import fusion
from pixel_cnn_pp.likelihood import bits_per_dim
from pixel_cnn_pp.network import Network

# Arguments of compile() that are fixed here: the network has its own loss.
FIXED = ("loss", "loss_weights", "metrics", "weighted_metrics")


class TrainableNetwork(Network):
    """A Network that Keras trains, scores and saves, on any tf.distribute strategy.

    `fit`, `evaluate` and `predict` take uint8 images [N, H, W, C], or the pair (images,
    labels) with labels int [N], as arrays, tensors or a tf.data.Dataset of batches.

    Loss: the mean of `image_loss` over the images, in nats, whatever their number in a
    batch or on a replica; metric: bits_per_dim. `predict` gives the log-probability in
    nats, [N]. Dropout masks follow from the model's seed, the optimizer's counter of
    steps, which is saved with it, and the replica.
    """

    seed: int  # Of dropout and of the energy distance.
    fuses: bool  # XLA fuses activation, padding and gating.

    def fit(self, x=None, y=None, batch_size: int | None = None, *args, **kwargs):
        """As keras.Model.fit; first initialises a model that has initial weights.

        The data-dependent initialisation takes the first batch. ValueError for images
        or labels that do not fit the model.
        """
        if self.compiled:
            self._prepare(lambda: _first_batch(x, y, batch_size or 32))
        return super().fit(x, y, batch_size, *args, **kwargs)

    def _prepare(self, first_batch: Callable) -> None:
        """Checks what compile() was given, and initialises the model."""
        given = self.get_compile_config()
        for name in FIXED:
            if given.get(name) is not None:
                raise ValueError(
                    f"compile({name}=…): this model has its own loss, the negative "
                    "log-likelihood, and the metric bits_per_dim; give only optimizer."
                )
        if not self.is_initialized():
            images, labels = self._parts(first_batch())
            self.initialize(
                image_ops.to_float(self.check_images(images), self.num_levels),
                None if labels is None else self.check_labels(labels, len(images)),
                (self.seed, prng.INITIALIZATION),
            )

    def make_train_function(self, force: bool = False):
        """As keras.Model's; makes the optimizer's variables first, or the step would be
        traced twice."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

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
                losses = self.image_loss(images, labels, training=True, seed=seed)
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
            return self._logs(self.image_loss(images, labels, seed=seed))

    def predict_step(self, data) -> tf.Tensor:
        self.check_has_likelihood()
        with fusion.fusing(self.fuses):
            return -self.image_loss(*self._checked_parts(data))

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
        if weights is not None:
            raise ValueError(
                "sample_weight or class_weight: every image counts once; remove it."
            )
        if labels is None and isinstance(images, tuple | list) and len(images) == 2:
            images, labels = images  # predict() takes no y.
        return images, labels

    def _checked_parts(self, data) -> tuple[tf.Tensor, tf.Tensor | None]:
        """`_parts` of tensors: types and shapes are checked, and labels as it runs."""
        images, labels = self._parts(data)
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
        if labels is None or self.num_labels is None:
            self.condition(labels)  # Raises if there should be labels, or none.
            return images, labels
        if not labels.dtype.is_integer or labels.shape.rank != 1:
            raise ValueError(f"labels {_described(labels)}: must be integers [N].")
        labels = tf.cast(labels, tf.int32)
        in_range = tf.reduce_all((labels >= 0) & (labels < self.num_labels))
        message = f"labels: must be from 0 to {self.num_labels - 1}; these are"
        check = tf.debugging.Assert(in_range, [message, labels])
        # Eagerly it is None: it has raised or passed.
        with tf.control_dependencies([] if check is None else [check]):
            return images, tf.identity(labels)


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
