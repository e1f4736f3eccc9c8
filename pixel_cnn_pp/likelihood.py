"""Distributions of pixels: their loss, and sampling from them."""

import abc
import itertools
import math

import numpy as np
import tensorflow as tf
from keras import ops

from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp import prng
from pixel_cnn_pp.config import ModelConfig


def bits_per_dim(nats: tf.Tensor | float, image_shape: tuple[int, int, int]):
    """Nats per image as bits per sub-pixel."""
    return nats / (math.log(2.0) * math.prod(image_shape))


def _pairs(channels: int) -> list[tuple[int, int]]:
    """The pairs (later, earlier) of channels: (1, 0), (2, 0), (2, 1), …"""
    return [(c, j) for c in range(channels) for j in range(c)]


def _log_density(z: tf.Tensor, log_scales: tf.Tensor) -> tf.Tensor:
    """Log-density of a logistic at z = (x − mean) / scale."""
    return z - log_scales - 2.0 * ops.softplus(z)


class Likelihood(abc.ABC):
    """The distribution of a pixel, given its parameters l from the network.

    num_parameters: D; parameter_channels: [D], the channel of each parameter;
    noise_size: uniform random numbers per sampled pixel.
    """

    num_parameters: int
    parameter_channels: np.ndarray
    noise_size: int

    @abc.abstractmethod
    def log_prob(self, x: tf.Tensor, l: tf.Tensor) -> tf.Tensor:
        """Log-probability in nats, [N, H, W], of pixels x [N, H, W, C] in [-1, 1] under
        parameters l [N, H, W, D]."""

    @abc.abstractmethod
    def sample(
        self, l: tf.Tensor, noise: tf.Tensor, temperature: tf.Tensor | float = 1.0
    ) -> tf.Tensor:
        """Pixels [..., C] in [-1, 1] from parameters l [..., D] and noise
        [..., noise_size], uniform in (0, 1)."""

    def log_prob_per_pixel(self, x: tf.Tensor, l: tf.Tensor) -> tf.Tensor:
        """The score of each pixel, [N, H, W]: `log_prob`, or for the continuous mixture
        its mean over fixed offsets."""
        return self.log_prob(x, l)

    def loss(self, x: tf.Tensor, l: tf.Tensor, seed=None) -> tf.Tensor:
        """Nats per image, [N]: the official `discretized_mix_logistic_loss`.

        Deterministic, except for the continuous mixture with a seed.
        """
        return -ops.sum(self.log_prob_per_pixel(x, l), axis=(1, 2))


class DiscretizedMixLogistic(Likelihood):
    """Mixture of K logistics for a pixel's C sub-pixels, each in `num_levels` bins.

    The means of a later channel depend linearly on the earlier sub-pixels of the same
    pixel. Salimans et al. 2017, section 2. Its parameters l [N, H, W, D] hold K logits,
    then blocks of K: for each channel its means, its log-scales and one of the
    C(C − 1)/2 blocks of coefficients, in the order (1 ← 0), (2 ← 0), (2 ← 1),
    (3 ← 0), …, as long as there are any; for C > 3 the remaining blocks of coefficients
    follow at the end. For C = 3 this is the official layout.
    """

    def __init__(self, channels: int, nr_logistic_mix: int, num_levels: int = 256):
        self.channels = channels
        self.nr_logistic_mix = nr_logistic_mix
        self.num_levels = num_levels
        # What the blocks of K parameters are, and the channel that they belong to; the
        # logits are assigned to channel 0.
        pairs = [("coefficient", c, j) for c, j in _pairs(channels)]
        self.layout: list[tuple] = [("logit", 0)]
        # The official layout puts one block of coefficients after a channel's scales.
        for c in range(channels):
            self.layout += [("mean", c), ("log_scale", c), *pairs[c : c + 1]]
        self.layout += pairs[channels:]
        blocks = [c for _, c, *_ in self.layout]
        self.parameter_channels = np.repeat(blocks, nr_logistic_mix)
        self.num_parameters = len(self.parameter_channels)
        self.noise_size = nr_logistic_mix + channels

    def unpack(
        self, l: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor], list[list[tf.Tensor]]]:
        """l [..., D] → logits [..., K]; means, log-scales [C] of [..., K]; coefficients
        [c][j] of [..., K] for j < c. In float32, whatever l is."""
        blocks = ops.split(ops.cast(l, "float32"), len(self.layout), axis=-1)
        block = dict(zip(self.layout, blocks, strict=True))
        channels = range(self.channels)
        means = [block["mean", c] for c in channels]
        log_scales = [ops.maximum(block["log_scale", c], -7.0) for c in channels]
        coefficients = [
            [ops.tanh(block["coefficient", c, j]) for j in range(c)] for c in channels
        ]
        return block["logit", 0], means, log_scales, coefficients

    def log_prob(
        self, x: tf.Tensor, l: tf.Tensor, offsets: tf.Tensor | None = None
    ) -> tf.Tensor:
        """See `Likelihood.log_prob`. Salimans et al. 2017, eq. 2.

        `offsets`, [N, H, W, C]: added to the pixel values before the density is taken;
        for densities only.
        """
        logits, means, log_scales, coefficients = self.unpack(l)
        x = ops.cast(x, "float32")[..., None]  # [N, H, W, C, 1]
        means = [
            mean + sum(a * x[..., j, :] for j, a in enumerate(coefficients[c]))
            for c, mean in enumerate(means)
        ]
        means = ops.stack(means, axis=-2)  # [N, H, W, C, K]
        log_scales = ops.stack(log_scales, axis=-2)  # [N, H, W, C, K]
        per_channel = self._log_prob_of_bin(x, means, log_scales, offsets)
        joint = ops.sum(per_channel, axis=-2) + ops.log_softmax(logits)  # [N, H, W, K]
        return ops.logsumexp(joint, axis=-1)

    def _log_prob_of_bin(self, x, means, log_scales, offsets):
        """Of the bin around x, [N, H, W, C, K]."""
        half_width = 1.0 / (self.num_levels - 1)
        inv_stdv = ops.exp(-log_scales)
        centered = x - means
        plus_in = inv_stdv * (centered + half_width)
        min_in = inv_stdv * (centered - half_width)
        mid_in = inv_stdv * centered
        cdf_delta = ops.sigmoid(plus_in) - ops.sigmoid(min_in)
        log_cdf_plus = plus_in - ops.softplus(plus_in)
        log_one_minus_cdf_min = -ops.softplus(min_in)
        # Where the bin holds next to nothing: density at its centre times its width.
        log_pdf_mid = _log_density(mid_in, log_scales)
        # Both branches of where are differentiated, so the log needs a floor.
        inside = ops.where(
            cdf_delta > 1e-5,
            ops.log(ops.maximum(cdf_delta, 1e-12)),
            log_pdf_mid - math.log((self.num_levels - 1) / 2),
        )
        upper = ops.where(x > 0.999, log_one_minus_cdf_min, inside)
        return ops.where(x < -0.999, log_cdf_plus, upper)

    def sample(
        self,
        l: tf.Tensor,
        noise: tf.Tensor,
        temperature: tf.Tensor | float = 1.0,
        quantize: bool = True,
    ) -> tf.Tensor:
        """See `Likelihood.sample`.

        The noise chooses the component (Gumbel-max), then the place in each channel's
        logistic: K + C numbers. The temperature divides the logits and multiplies the
        scales. Each sub-pixel is rounded to its bin at once, so that the sample comes
        from the distribution that `log_prob` measures; `quantize=False` does not round,
        as the official `sample_from_discretized_mix_logistic`.
        """
        logits, means, log_scales, coefficients = self.unpack(l)
        k = self.nr_logistic_mix
        gumbel = -ops.log(-ops.log(noise[..., :k]))
        best = ops.argmax(logits / temperature + gumbel, axis=-1)
        chosen = ops.one_hot(best, k, dtype="float32")
        logistic = ops.log(noise[..., k:]) - ops.log(1.0 - noise[..., k:])

        def select(block):
            return ops.sum(block * chosen, axis=-1)

        x = []
        for c in range(self.channels):
            scale = temperature * ops.exp(select(log_scales[c]))
            value = select(means[c]) + scale * logistic[..., c]
            value += sum(select(a) * x[j] for j, a in enumerate(coefficients[c]))
            if quantize:
                x.append(image_ops.round_to_bin(value, self.num_levels))
            else:
                x.append(ops.clip(value, -1.0, 1.0))
        return ops.stack(x, axis=-1)


class ContinuousMixLogistic(DiscretizedMixLogistic):
    """The density of the same mixture at uniformly dequantized pixels.

    A pixel value v is measured at v + o, o uniform in (−½, ½) for each sub-pixel; the
    network and the later channels' means see v. By Jensen's inequality the mean over o
    of the log-density, in units of pixel values, is at most the log-probability of v:
    the loss estimates an upper bound on the nats of the discrete image.
    """

    # Dequantizations of an image in evaluation; training takes one a step.
    dequantization_draws = 8

    def _log_prob_of_bin(self, x, means, log_scales, offsets):
        half_range = (self.num_levels - 1) / 2  # Pixel values per unit of x.
        x = x + ops.expand_dims(offsets, -1) / half_range
        z = (x - means) * ops.exp(-log_scales)
        return _log_density(z, log_scales) - math.log(half_range)

    def log_prob_per_pixel(self, x: tf.Tensor, l: tf.Tensor) -> tf.Tensor:
        """The mean of `log_prob` over evenly spread offsets o, [N, H, W].

        They are the same for every image: a score depends on no other image.
        """
        first = prng.uniform([1, *x.shape[1:]], tf.constant([0, 0]))
        total = 0.0
        for i in range(self.dequantization_draws):
            offsets = (first + i / self.dequantization_draws) % 1.0 - 0.5
            total += self.log_prob(x, l, offsets)
        return total / self.dequantization_draws

    def loss(self, x: tf.Tensor, l: tf.Tensor, seed=None) -> tf.Tensor:
        """Estimate of an upper bound on the nats per image, [N].

        With `seed`, int32 [2], from one dequantization of each image; without, from
        those of `log_prob_per_pixel`.
        """
        if seed is None:
            return super().loss(x, l)
        offsets = prng.uniform(ops.shape(x), seed) - 0.5
        return -ops.sum(self.log_prob(x, l, offsets), axis=(1, 2))


class Softmax(Likelihood):
    """A softmax over the values of each sub-pixel. Salimans et al. 2017, section 3.4.1.

    The logits depend linearly on the earlier sub-pixels of the pixel. The parameters
    l [N, H, W, D] hold blocks of `num_levels`: the logits of each channel, then the
    coefficients of (1 ← 0), (2 ← 0), (2 ← 1), (3 ← 0), …: 1,536 for C = 3.
    """

    def __init__(self, channels: int, num_levels: int = 256):
        self.channels = channels
        self.num_levels = num_levels
        blocks = [*range(channels), *(c for c, _ in _pairs(channels))]
        self.parameter_channels = np.repeat(blocks, num_levels)
        self.num_parameters = len(self.parameter_channels)
        self.noise_size = channels

    def logits(self, c: int, blocks: list[tf.Tensor], x: list[tf.Tensor]) -> tf.Tensor:
        """Those of channel c, [..., num_levels], given its pixel's earlier ones, x."""
        coefficients = blocks[self.channels + c * (c - 1) // 2 :]
        return blocks[c] + sum(coefficients[j] * x[j][..., None] for j in range(c))

    def _blocks(self, l: tf.Tensor) -> list[tf.Tensor]:
        count = self.num_parameters // self.num_levels
        return ops.split(ops.cast(l, "float32"), count, axis=-1)

    def log_prob(self, x: tf.Tensor, l: tf.Tensor) -> tf.Tensor:
        blocks = self._blocks(l)
        x = ops.unstack(ops.cast(x, "float32"), axis=-1)
        total = 0.0
        for c, value in enumerate(x):
            target = image_ops.to_pixel_values(value, self.num_levels)
            total -= ops.sparse_categorical_crossentropy(
                ops.cast(target, "int32"), self.logits(c, blocks, x), from_logits=True
            )
        return total

    def sample(
        self, l: tf.Tensor, noise: tf.Tensor, temperature: tf.Tensor | float = 1.0
    ) -> tf.Tensor:
        """See `Likelihood.sample`.

        The value of a channel is the first whose cumulative probability reaches the
        channel's noise. The temperature divides the logits.
        """
        blocks = self._blocks(l)
        x: list[tf.Tensor] = []
        for c in range(self.channels):
            p = ops.softmax(self.logits(c, blocks, x) / temperature)
            up_to = ops.cumsum(p, axis=-1)
            # The sum of all is not quite 1 in float32, and must not be passed.
            below = up_to < noise[..., c : c + 1] * up_to[..., -1:]
            value = ops.sum(ops.cast(below, "int32"), axis=-1)
            x.append(image_ops.to_float(value, self.num_levels))
        return ops.stack(x, axis=-1)


def make_likelihood(config: ModelConfig) -> Likelihood:
    """The distribution of a pixel that `config.likelihood` names."""
    channels, num_levels = config.image_shape[-1], config.num_levels
    if config.likelihood == "softmax":
        return Softmax(channels, num_levels)
    continuous = config.likelihood == "mix_logistic_continuous"
    mixture = ContinuousMixLogistic if continuous else DiscretizedMixLogistic
    return mixture(channels, config.nr_logistic_mix, num_levels)


class EnergyDistance:
    """The official `energy_distance` between images and samples of an `EnergyHead`."""

    num_samples = 10

    def __init__(self, num_levels: int = 256):
        self.half_range = (num_levels - 1) / 2

    def _distance(self, x, y):
        """Σ over pixels of ‖x − y‖^1.5 in units of pixel values: [..., N]."""
        squares = ops.sum(ops.square(self.half_range * (x - y)), axis=-1)
        return ops.sum(ops.power(1e-10 + squares, 0.75), axis=(-2, -1))

    def loss(self, x: tf.Tensor, samples: tf.Tensor, seed=None) -> tf.Tensor:
        """2 E‖x − x′‖^1.5 − E‖x′ − x″‖^1.5, [N], from samples [S, N, H, W, C].

        Deterministic given the samples; `seed` is ignored.
        """
        samples = ops.cast(samples, "float32")
        count = samples.shape[0]
        to_image = sum(self._distance(x, samples[i]) for i in range(count)) / count
        pairs = list(itertools.combinations(range(count), 2))
        apart = sum(self._distance(samples[i], samples[j]) for i, j in pairs)
        return 2.0 * to_image - apart / len(pairs)
