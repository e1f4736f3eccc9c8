"""PixelCNNPP: the layers of a topology, run on whole images."""

from collections.abc import Callable

import keras
import numpy.typing as npt
import tensorflow as tf
from keras import ops

from pixel_cnn_pp import fusion, nn, noise, sampling
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.blocks import make_block
from pixel_cnn_pp.checks import check_scored
from pixel_cnn_pp.config import refuse_bad_model
from pixel_cnn_pp.gradients import recomputed
from pixel_cnn_pp.heads import ChannelsHead, EnergyHead, ParametersHead
from pixel_cnn_pp.likelihood import EnergyDistance, make_likelihood, round_to_levels
from pixel_cnn_pp.topology import IMAGE, topology


class PixelCNNPP(keras.Model):
    """PixelCNN++ of Salimans et al. 2017, as openai/pixel-cnn builds it.

    Args:
        image_shape: (H, W, C) of the images, any sizes, C ≥ 1.
        nr_resnet: residual blocks per stage.
        nr_filters: F, channels of both streams.
        nr_logistic_mix: K, components of the mixture.
        resnet_nonlinearity: 'concat_elu', 'elu' or 'relu'.
        num_labels: L where the model is class-conditional.
        dropout_p: share of each residual block's activations that training drops.
        num_levels: levels of a sub-pixel, 2 … 256.
        likelihood: 'mix_logistic', 'softmax' or 'mix_logistic_continuous'.
        energy_distance: train with the energy distance instead of a likelihood.
        short_cuts: connect the layers of the way down to those of the way up.
        field: '11x5' or '15x8' for a network of one stage that sees no more than so
            many columns of so many rows above, whatever nr_resnet is; None for the
            official one.
        nin_blocks: with a field, 1×1 gated resnets between two that see farther.
        autoregressive_channels: let each channel's parameters depend on the pixel's
            earlier channels through gated resnets, not only linearly.
        seed: the first weights follow from it.
        first_weights: False where others will be loaded: it is made with zeros.

    Raises ValueError with the value and the rule where one is not allowed.

    Images are uint8 levels 0 … num_levels − 1 wherever they are called images; `call`
    takes floats in [-1, 1]. `parameters` maps the official names (conv2d_0/V, …) to the
    variables, in the official order of creation.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (32, 32, 3),
        nr_resnet: int = 5,
        nr_filters: int = 160,
        nr_logistic_mix: int = 10,
        resnet_nonlinearity: str = "concat_elu",
        num_labels: int | None = None,
        dropout_p: float = 0.5,
        num_levels: int = 256,
        likelihood: str = "mix_logistic",
        energy_distance: bool = False,
        short_cuts: bool = True,
        field: str | None = None,
        nin_blocks: int = 0,
        autoregressive_channels: bool = False,
        seed: int = 0,
        first_weights: bool = True,
        name: str = "pixel_cnn_pp",
    ):
        super().__init__(name=name)
        self.config = {
            "image_shape": tuple(image_shape),
            "nr_resnet": nr_resnet,
            "nr_filters": nr_filters,
            "nr_logistic_mix": nr_logistic_mix,
            "resnet_nonlinearity": resnet_nonlinearity,
            "num_labels": num_labels,
            "dropout_p": dropout_p,
            "num_levels": num_levels,
            "likelihood": likelihood,
            "energy_distance": energy_distance,
            "short_cuts": short_cuts,
            "field": field,
            "nin_blocks": nin_blocks,
            "autoregressive_channels": autoregressive_channels,
            "seed": seed,
        }
        refuse_bad_model(self.config)
        self.image_shape = tuple(image_shape)
        self.num_labels = num_labels
        self.num_levels = num_levels
        self.energy_distance = energy_distance
        channels = self.image_shape[-1]
        make = nn.LayerFactory(seed if first_weights else None)
        self.topology = topology(nr_resnet, short_cuts, field, nin_blocks)
        self.blocks = [
            make_block(block, make, channels, self.config) for block in self.topology
        ]
        # Height and width of the maps of the finest stage, padding included.
        self.coarsest = max(block.stride for block in self.topology)
        self.map_shape = tuple(n + -n % self.coarsest for n in self.image_shape[:2])
        if energy_distance:
            self.objective = EnergyDistance(num_levels)
            self.head = EnergyHead(make, nr_filters, channels)
            self.noise_size = self.head.noise_channels
        else:
            self.objective = make_likelihood(
                likelihood, channels, nr_logistic_mix, num_levels
            )
            self.noise_size = self.objective.noise_size
            if autoregressive_channels:
                self.head = ChannelsHead(
                    make, nr_filters, self.objective.owners, resnet_nonlinearity
                )
            else:
                units = self.objective.num_parameters
                self.head = ParametersHead(make, nr_filters, units)
        self.linear_layers = [
            layer for layer in make.layers if isinstance(layer, nn.WeightNorm)
        ]
        self.parameters = {
            f"{layer.name}/{weight.name}": weight
            for layer in make.layers
            for weight in layer.trainable_weights
        }
        self.built = True
        self.remat = False
        self.fuses = False
        self.set_precision("float32")

    def set_precision(self, precision: str) -> None:
        """Lets the network run in 'float32' or 'mixed_bfloat16'.

        The latter computes its residual blocks in bfloat16, from kernels that are made
        in float32; the first and the output layers, the sums of the residual blocks,
        the likelihood and all parameters stay in float32. Drawing stays in float32, see
        `round_kernels`. ValueError where it is another.
        """
        if precision not in nn.PRECISIONS:
            raise ValueError(
                f"precision={precision}: must be one of {', '.join(nn.PRECISIONS)}."
            )
        self.map_dtype = nn.PRECISIONS[precision]
        self._compile()

    def set_fusion(self, fuses: bool) -> None:
        """Lets scoring run what stands between two convs as one kernel, made by XLA.

        Faster, after a compilation of a second or two for each number of images.
        """
        self.fuses = fuses
        self._compile_scores()

    def _compile(self):
        self._compile_scores()
        self.sampler = sampling.Sampler(self)

    def _compile_scores(self):
        self._compiled_log_prob = tf.function(
            self._log_prob, reduce_retracing=True, autograph=False
        )
        self._compiled_log_prob_per_pixel = tf.function(
            self._log_prob_per_pixel, reduce_retracing=True, autograph=False
        )

    def run_block(self, index, run, x, a=None, h=None, dropout_seed=None) -> tf.Tensor:
        """Block `index` on its operands: whole maps here, or windows elsewhere."""
        layer = self.blocks[index]
        kind = self.topology[index].kind
        if kind == "input":
            return layer.forward(run, x)
        if kind == "gated_resnet":
            return layer.forward(run, x, a, h, dropout_seed)
        return run(layer, x)

    def features(self, x, labels=None, seed=None, run=nn.call_layer) -> tf.Tensor:
        """What the output layer reads: ul [N, H, W, F] from x [N, H, W, C] in [-1, 1].

        `seed`, int32 [2], turns dropout on.
        """
        h = self.condition(labels)
        height, width = x.shape[1:3]
        # The channel of ones tells the image from the padding, here and in the convs.
        x = ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)
        below, right = -height % self.coarsest, -width % self.coarsest
        if below or right:
            x = ops.pad(x, [[0, 0], [0, below], [0, right], [0, 0]])

        # The image and the sums of the residual blocks stay in float32: bfloat16 is too
        # coarse for them.
        def run_on_maps(layer, x, **before):
            linear = isinstance(layer, nn.WeightNorm)
            return run(layer, ops.cast(x, self.map_dtype) if linear else x, **before)

        maps: list[tf.Tensor] = []
        blocks = len(self.topology)
        seeds = [None] * blocks if seed is None else noise.split(seed, blocks)
        for index, block in enumerate(self.topology):
            operands = [x if block.x == IMAGE else maps[block.x]]
            operands += [maps[a] for a in block.a]

            run_layer = run if block.x == IMAGE else run_on_maps

            def run_block(x, *a, index=index, run_layer=run_layer):
                a = ops.concatenate(a, axis=-1) if a else None
                return self.run_block(index, run_layer, x, a, h, seeds[index])

            if self.remat and block.kind == "gated_resnet" and run is nn.call_layer:
                variables = self.blocks[index].trainable_variables
                run_block = recomputed(run_block, variables)
            maps.append(ops.cast(run_block(*operands), "float32"))
        ul = maps[-1]
        return ul[:, :height, :width] if below or right else ul

    def condition(self, labels: npt.ArrayLike | None) -> tf.Tensor | None:
        """Labels, int [N], as one-hot rows h [N, L]; ValueError where the model needs
        some and there are none, or takes none."""
        if (labels is None) != (self.num_labels is None):
            raise ValueError(
                f"labels={labels}: a model with num_labels={self.num_labels} "
                + ("needs labels." if labels is None else "takes none.")
            )
        return None if labels is None else ops.one_hot(labels, self.num_labels)

    def call(self, x, labels=None, training=False, seed=None, run=nn.call_layer):
        """Parameters of the pixels' distributions, [N, H, W, D], for x in [-1, 1].

        With `energy_distance` 10 samples, [10, N, H, W, C]. Training needs `seed`,
        int32 [2], from which the dropout masks follow (and the samples, always).
        """
        drops = training and self.config["dropout_p"] > 0
        if seed is None and (drops or self.energy_distance):
            raise ValueError(
                "seed=None: give int32 [2]; what is drawn follows from it."
            )
        x = ops.cast(x, "float32")
        ul = self.features(x, labels, noise.fold_in(seed, 0) if drops else None, run)
        if not self.energy_distance:
            return self.head.forward(run, ul, x)
        samples_from = self.energy_noise(ops.shape(ul), noise.fold_in(seed, 1))
        return self.head.forward(run, ul, samples_from)

    def energy_noise(self, shape, seed) -> tf.Tensor:
        """Uniform noise in [-1, 1), [10·N, H, W, 4], for ul of `shape`."""
        n, height, width, _ = shape
        count = self.objective.num_samples * n
        return 2.0 * noise.uniform((count, height, width, self.noise_size), seed) - 1.0

    def initialize(
        self,
        x: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        seed: npt.ArrayLike = (0, 0),
    ) -> tf.Tensor:
        """Data-dependent initialisation, once, on x [N, H, W, C] in [-1, 1].

        Runs with dropout, as the official code does, its masks from `seed`, two
        integers; returns the network's output. Salimans & Kingma 2016.
        """
        seed = tf.constant(seed, tf.int32)
        return self.call(x, labels, training=True, seed=seed, run=nn.initialize_layer)

    def image_loss(
        self,
        images: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        training: bool = False,
        seed: npt.ArrayLike | None = None,
    ) -> tf.Tensor:
        """Loss of each of the uint8 images [N, H, W, C]: nats, or energy distance. [N]

        `seed`, int32 [2], as in `call`. Can be differentiated; checks no levels.
        """
        x = image_ops.to_float(images, self.num_levels)
        output = self(x, labels, training=training, seed=seed)
        loss_seed = noise.fold_in(seed, 2) if training and seed is not None else None
        return self.objective.loss(x, output, loss_seed)

    def log_prob(
        self, images: npt.ArrayLike, labels: npt.ArrayLike | None = None
    ) -> tf.Tensor:
        """Log-probability in nats, float32 [N], of uint8 images [N, H, W, C].

        `labels`: int [N], for a class-conditional model. Of a 'mix_logistic_continuous'
        model an estimate of a lower bound on it, the same in each call. Raises
        ValueError where images or labels are none that the model takes, and for a model
        of the energy distance, which has no likelihood. Salimans et al. 2017, eq. 2.
        """
        return self._compiled_log_prob(*check_scored(self, images, labels))

    def log_prob_per_pixel(self, images, labels=None) -> tf.Tensor:
        """Log-probability in nats of each pixel, all channels, given those before it.

        [N, H, W] for uint8 images [N, H, W, C]; its sums are their `log_prob`.
        """
        return self._compiled_log_prob_per_pixel(*check_scored(self, images, labels))

    def _log_prob(self, images, labels):
        with fusion.fusing(self.fuses):
            return -self.image_loss(images, labels)

    def _log_prob_per_pixel(self, images, labels):
        x = image_ops.to_float(images, self.num_levels)
        with fusion.fusing(self.fuses):
            return self.objective.log_prob_per_pixel(x, self(x, labels))

    def round_kernels(self, dtype: str = "bfloat16") -> None:
        """Rounds all kernels to 'bfloat16', or no longer ('float32'), wherever they are
        used from now on.

        The sampler then stores them in half the bytes. The parameters stay as they are.
        """
        for layer in self.linear_layers:
            layer.rounded_to = dtype
        self._compile()

    def draw_pixels(self, ul, u, temperature=1.0, run=nn.call_layer) -> tf.Tensor:
        """Pixels [N, H, W, C] in [-1, 1], rounded to their bins, from ul [N, H, W, F].

        u [N, H, W, noise_size] in (0, 1); see `draw` of the likelihood.
        """
        if self.energy_distance:
            drawn = self.head.forward(run, ul, 2.0 * u - 1.0)[0]
            return round_to_levels(drawn, self.num_levels)
        # What is drawn of a channel depends on the channels before it alone, so that
        # each pass of the head that looks at them makes one more channel right.
        channels = self.image_shape[-1]
        x = ops.zeros_like(u[..., :channels])
        looks = self.config["autoregressive_channels"]
        for _ in range(channels if looks else 1):
            l = self.head.forward(run, ul, x)
            x = self.objective.draw(l, u, temperature)
        return x

    def sample(
        self,
        n: int,
        labels: npt.ArrayLike | None = None,
        seed: npt.ArrayLike = (0, 0),
        temperature: float = 1.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> tf.Tensor:
        """Draws uint8 images [n, H, W, C], levels 0 … num_levels − 1.

        Args:
            n: 1 or more. Batches of 1, 4, 16 and 64 are compiled when first drawn.
            labels: int [n], for a class-conditional model.
            seed: two integers; image i follows from (seed, i), not from n.
            temperature: above 0; divides logits, multiplies the scales of logistics.
            progress: called with the numbers of images done and in all, now and then.

        Raises ValueError with the value, the rule and the remedy where one of them is
        not allowed.
        """
        return sampling.sample(self, n, labels, seed, temperature, progress)

    def complete(
        self,
        images: npt.ArrayLike,
        rows: int | None = None,
        labels: npt.ArrayLike | None = None,
        seed: npt.ArrayLike = (0, 0),
        temperature: float = 1.0,
        mask: npt.ArrayLike | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> tf.Tensor:
        """Keeps the first `rows` rows of uint8 images [N, H, W, C] and draws the rest.

        In place of `rows`, `mask`, bool [H, W] or [N, H, W], says what is kept. Pixels
        are drawn in raster order, each given all before it, kept or drawn. If
        those kept are the first in that order, the result is an exact draw from the
        model given them; where kept pixels follow drawn ones, these were drawn without
        a look at them, and the result is no draw from that conditional distribution.
        uint8 [N, H, W, C]; the rest, and the errors, as in `sample`.
        """
        return sampling.complete(
            self, images, rows, labels, seed, temperature, mask, progress
        )

    def get_config(self) -> dict:
        """The arguments that it was made with."""
        return self.config

    @classmethod
    def from_config(cls, config: dict) -> "PixelCNNPP":
        """A new model with these arguments."""
        return cls(**config)
