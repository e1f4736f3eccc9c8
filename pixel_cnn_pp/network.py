"""Network: the blocks of a topology, run on whole images. Knows no sampler."""

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import ops

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import memory, prng
from pixel_cnn_pp.checks import as_array
from pixel_cnn_pp.config import ModelConfig
from pixel_cnn_pp.layers.base import set_layers
from pixel_cnn_pp.layers.blocks import make_block, make_embedding
from pixel_cnn_pp.layers.convolution import LayerFactory
from pixel_cnn_pp.layers.custom_gradient import recomputed
from pixel_cnn_pp.layers.heads import make_head
from pixel_cnn_pp.layers.runners import (
    LayerRunner,
    call_layer,
    call_with,
    initialize_layer,
)
from pixel_cnn_pp.layers.weight_norm import WeightNorm, kernels_of
from pixel_cnn_pp.likelihood import EnergyDistance, make_likelihood
from pixel_cnn_pp.topology import IMAGE, topology


class Network(keras.Model):
    """The network of Salimans et al. 2017, as openai/pixel-cnn builds it.

    Args:
        config: its architecture.
        seed: of the initial weights; None makes them zeros, for weights to be loaded.

    `call` takes floats in [-1, 1]. `parameters` maps the official names (conv2d_0/V, …)
    to the variables, in the official order of creation.
    """

    def __init__(
        self, config: ModelConfig, seed: int | None = 0, name: str = "network"
    ):
        super().__init__(name=name, dtype="float32")
        memory.check_parameters(config)
        self.config = config
        self.image_shape = config.image_shape
        self.num_labels = config.num_labels
        self.num_levels = config.num_levels
        self.image_dtype = image_ops.pixel_dtype(config.num_levels)
        self.energy_distance = config.energy_distance
        self.topology = topology(config)
        stride = self.coarsest_stride = max(block.stride for block in self.topology)
        # Height and width of the feature maps of the finest stage, padding included.
        self.padded_shape = tuple(n + -n % stride for n in self.image_shape[:2])
        make = LayerFactory(seed)
        self.embedding = make_embedding(config, make)
        blocks = [make_block(block, make, config) for block in self.topology]
        set_layers(self, "blocks", blocks)
        if config.energy_distance:
            self.objective = EnergyDistance(config.num_levels)
            self.head = make_head(config, make, None)
            self.noise_size = self.head.noise_channels
        else:
            self.objective = make_likelihood(config)
            self.head = make_head(config, make, self.objective.parameter_channels)
            self.noise_size = self.objective.noise_size
        self.linear_layers = [
            layer for layer in make.layers if isinstance(layer, WeightNorm)
        ]
        self.parameters = {
            f"{layer.name}/{weight.name}": weight
            for layer in make.layers
            for weight in layer.trainable_weights
        }
        self.built = True
        self.activation_dtype = "float32"
        self.remat = False

    def save_own_variables(self, store):
        """Saves nothing itself: `parameters` are weights of its layers."""

    def load_own_variables(self, store):
        """Loads nothing itself, see `save_own_variables`."""

    def tf_variables(self) -> dict[str, tf.Variable]:
        """The tf.Variables of `parameters`, as checkpoints and optimizers take them."""
        return {name: parameter.value for name, parameter in self.parameters.items()}

    def condition(self, labels: npt.ArrayLike | None) -> tf.Tensor | None:
        """Labels, int [N], as one-hot rows h [N, L], NaN for labels out of range;
        ValueError as of `check_conditional`."""
        self.check_conditional(labels)
        if labels is None:
            return None
        h = ops.one_hot(labels, self.num_labels, dtype="float32")
        fits = image_ops.in_range(labels, self.num_labels)
        # In a graph they cannot be checked, and zeros would count as no label.
        return ops.where(fits[:, None], h, np.nan)

    def run_block(
        self, index: int, run: LayerRunner, x, a=None, h=None, dropout_seed=None
    ) -> tf.Tensor:
        """Block `index` of the topology on whole feature maps."""
        layer = self.blocks[index]
        kind = self.topology[index].kind
        if kind == "input":
            return layer.forward(run, x)
        if kind == "gated_resnet":
            return layer.forward(run, x, a, layer.project(h), dropout_seed)
        return run(layer, x)

    def runner(self) -> LayerRunner:
        """Runs layers with kernels computed for all at once; with remat each computes
        its own, so that none is kept for the gradient."""
        return call_layer if self.remat else call_with(kernels_of(self.linear_layers))

    def embedded(self, image: tf.Tensor, run: LayerRunner) -> tf.Tensor:
        """What the input layers see of an image and its channel of ones, [N, H, W,
        C + 1]: pixel values as they are; codes (class indices, for example of a
        VQ-VAE) as vectors, [N, H, W, E + 1], zero outside the image, as the ones are.
        """
        if self.embedding is None:
            return image
        codes, ones = image[..., 0], image[..., 1:]
        codes = image_ops.to_pixel_values(codes, self.num_levels)
        one_hot = ops.one_hot(codes, self.num_levels, dtype="float32")
        return ops.concatenate([run(self.embedding, one_hot) * ones, ones], axis=-1)

    def features(
        self, x, labels=None, seed=None, run: LayerRunner | None = None
    ) -> tf.Tensor:
        """The input of the head: ul [N, H, W, F] from x [N, H, W, C] in [-1, 1].

        `seed`, int32 [2], turns dropout on.
        """
        run = run or self.runner()
        if tf.executing_eagerly():
            labels = self.check_labels(labels, len(x))
        h = self.condition(labels)
        height, width = x.shape[1:3]
        # The channel of ones tells the image from its padding.
        x = ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)
        x = self.embedded(x, run)
        below, right = -height % self.coarsest_stride, -width % self.coarsest_stride
        if below or right:
            x = ops.pad(x, [[0, 0], [0, below], [0, right], [0, 0]])

        # The image and the residual sums stay in float32: bfloat16 is too coarse.
        def run_in_dtype(layer, x, *prepare):
            return run(layer, ops.cast(x, self.activation_dtype), *prepare)

        outputs = {IMAGE: x}
        num_blocks = len(self.topology)
        seeds = [None] * num_blocks if seed is None else prng.split(seed, num_blocks)
        for index, block in enumerate(self.topology):
            inputs = [outputs[i] for i in (block.x, *block.a)]
            run_layer = run if block.x == IMAGE else run_in_dtype

            def compute(x, *a, index=index, run_layer=run_layer):
                a = ops.concatenate(a, axis=-1) if a else None
                return self.run_block(index, run_layer, x, a, h, seeds[index])

            # Not in the initialisation, which needs no gradient.
            if self.remat and block.kind == "gated_resnet" and run is call_layer:
                variables = self.blocks[index].trainable_variables
                compute = recomputed(compute, variables)
            outputs[index] = ops.cast(compute(*inputs), "float32")
        ul = outputs[num_blocks - 1]
        return ul[:, :height, :width] if below or right else ul

    def call(
        self, x, labels=None, training=False, seed=None, run: LayerRunner | None = None
    ):
        """Parameters of the pixels' distributions, [N, H, W, D], for x in [-1, 1].

        With `energy_distance` 10 samples, [10, N, H, W, C]. Training needs `seed`,
        int32 [2], for the dropout masks; the energy distance always, for its samples.
        ValueError for integers, which are no images in [-1, 1].
        """
        self._check_floats(x)
        drops = training and self.config.dropout_p > 0
        if seed is None and (drops or self.energy_distance):
            raise ValueError(
                "seed=None: dropout and the energy distance need int32 [2], for "
                "example (0, 1)."
            )
        run = run or self.runner()
        x = ops.cast(x, "float32")
        ul = self.features(x, labels, prng.fold_in(seed, 0) if drops else None, run)
        if not self.energy_distance:
            return self.head.forward(run, ul, x)
        noise = self.energy_noise(ops.shape(ul), prng.fold_in(seed, 1))
        samples = self.head.forward(run, ul, noise)
        # The head cannot tell their number in a batch of unknown size.
        return tf.ensure_shape(samples, [self.objective.num_samples, *[None] * 4])

    def energy_noise(self, shape, seed) -> tf.Tensor:
        """Uniform noise in (-1, 1), [num_samples · N, H, W, noise_size], for ul of
        `shape`."""
        n, height, width, _ = shape
        count = self.objective.num_samples * n
        return 2.0 * prng.uniform((count, height, width, self.noise_size), seed) - 1.0

    def initialize(
        self,
        x: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        seed: npt.ArrayLike = (0, 0),
    ) -> tf.Tensor:
        """Data-dependent initialisation, once, on x [N, H, W, C] in [-1, 1].

        Runs with dropout, as the official code does, its masks from `seed`, one or two
        integers; returns the network's output. Salimans & Kingma 2016. ValueError for
        no images, of another shape, or with values outside of [-1, 1].
        """
        shape, most = list(np.shape(x)), np.abs(x).max(initial=0)
        if shape[1:] != list(self.image_shape) or not shape[0] or not most <= 1:
            wanted = ["N", *self.image_shape]
            raise ValueError(
                f"x {shape} with values up to ±{most}: must be {wanted} in [-1, 1], "
                "N ≥ 1; pixel_cnn_pp.images.to_float makes it of images."
            )
        seed = tf.constant(prng.seed_of(seed), tf.int32)
        return self.call(x, labels, training=True, seed=seed, run=initialize_layer)

    def image_loss(
        self,
        images: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        training: bool = False,
        seed: npt.ArrayLike | None = None,
    ) -> tf.Tensor:
        """Loss of each of the images [N, H, W, C]: nats, or energy distance. [N]

        `seed`, int32 [2], as in `call`. Differentiable; does not check pixel values.
        ValueError for images that are no integers.
        """
        x = image_ops.to_float(images, self.num_levels)
        output = self(x, labels, training=training, seed=seed)
        loss_seed = prng.fold_in(seed, 2) if training and seed is not None else None
        return self.objective.loss(x, output, loss_seed)

    def sample_pixels(
        self, ul, noise, temperature=1.0, run: LayerRunner = call_layer
    ) -> tf.Tensor:
        """Pixels [N, H, W, C] in [-1, 1], rounded to their bins, from ul [N, H, W, F].

        noise [N, H, W, noise_size], uniform in (0, 1); see `Likelihood.sample`.
        """
        if self.energy_distance:
            # One sample per pixel: the noise is for one.
            x = self.head.forward(run, ul, 2.0 * noise - 1.0)[0]
            return image_ops.round_to_bin(x, self.num_levels)
        # A channel's sample depends on the channels before it alone, so each pass of a
        # head that sees them gets one more channel right.
        channels = self.image_shape[-1]
        x = ops.zeros_like(noise[..., :channels])
        for _ in range(channels if self.config.autoregressive_channels else 1):
            l = self.head.forward(run, ul, x)
            x = self.objective.sample(l, noise, temperature)
        return x

    def _check_floats(self, x) -> None:
        """Raises ValueError if x cannot be images in [-1, 1]."""
        dtype, shape = tf.as_dtype(x.dtype), list(x.shape)
        if not dtype.is_floating or len(shape) != 4 or shape[3] != self.image_shape[2]:
            raise ValueError(
                f"x {dtype.name} {shape}: must be floats in [-1, 1], "
                f"{['N', 'H', 'W', self.image_shape[2]]}; pixel_cnn_pp.images.to_float "
                "makes them of images."
            )
        if tf.executing_eagerly() and isinstance(x, (np.ndarray, tf.Tensor)):
            furthest = float(tf.reduce_max(tf.abs(x)))
            if furthest > 1.001:
                raise ValueError(
                    f"x up to ±{furthest:.4g}: must be floats in [-1, 1]; "
                    "pixel_cnn_pp.images.to_float makes them of images."
                )

    def check_has_likelihood(self) -> None:
        """Raises ValueError for a model of the energy distance."""
        if self.energy_distance:
            raise ValueError(
                "energy_distance=True: such a model samples images but has no "
                "likelihood; train without it."
            )

    def check_scored(
        self, images: npt.ArrayLike, labels: npt.ArrayLike | None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Both as tensors; ValueError if they cannot be scored."""
        self.check_has_likelihood()
        images = self.check_images(images)
        return images, self.check_labels(labels, len(images))

    def check_images(self, images: npt.ArrayLike) -> tf.Tensor:
        """Images [N, H, W, C], uint8 or any integers where there are more than 256
        values, as a tensor of `image_dtype`; ValueError if they do not fit."""
        images = as_array("images", images)
        fits = self.takes(images.dtype) and images.shape[1:] == self.image_shape
        if not fits or not len(images):
            raise ValueError(
                f"images {images.dtype} {list(images.shape)}: this model takes "
                f"{self.image_dtype} {['N', *self.image_shape]}, N ≥ 1."
            )
        has_codes = self.embedding is not None
        remedy = "" if has_codes else "; use pixel_cnn_pp.images.quantize"
        for value in (images.min(), images.max()):
            if not 0 <= value < self.num_levels:
                raise ValueError(
                    f"pixel value {value}: this model has the values 0 … "
                    f"{self.num_levels - 1}{remedy}."
                )
        return tf.constant(images.astype(self.image_dtype))

    def takes(self, dtype: np.dtype) -> bool:
        """Whether images may be of this type: uint8, or for more than 256 values any
        integers."""
        if self.image_dtype == np.uint8:
            return dtype == np.uint8
        return np.issubdtype(dtype, np.integer)

    def check_conditional(self, labels: npt.ArrayLike | None) -> None:
        """Raises ValueError if the model needs labels and there are none, or takes
        none."""
        if (labels is None) != (self.num_labels is None):
            raise ValueError(
                f"labels={labels!r:.60}: a model with num_labels={self.num_labels} "
                + ("needs labels." if labels is None else "takes none.")
            )

    def check_labels(self, labels: npt.ArrayLike | None, n: int) -> tf.Tensor | None:
        """Labels of n images as int32 [n], None for a model that takes none; ValueError
        if they do not fit."""
        self.check_conditional(labels)
        if labels is None:
            return None
        labels = as_array("labels", labels)
        if labels.shape != (n,) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels {labels.dtype} {list(labels.shape)}: {n} images take integers "
                f"[{n}]."
            )
        if n and not 0 <= labels.min() <= labels.max() < self.num_labels:
            raise ValueError(
                f"labels from {labels.min()} to {labels.max()}: this model has "
                f"num_labels={self.num_labels}; give 0 to {self.num_labels - 1}."
            )
        return tf.constant(labels, tf.int32)
