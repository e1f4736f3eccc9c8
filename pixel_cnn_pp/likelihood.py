"""Discretized logistic mixture and energy distance: loss and drawing of pixels."""

import itertools
import math

import tensorflow as tf
from keras import ops


def round_to_levels(x: tf.Tensor, num_levels: int) -> tf.Tensor:
    """Moves each value of [-1, 1] to the centre of its bin."""
    half = (num_levels - 1) / 2
    return (ops.round((x + 1.0) * half) - half) / half


class DiscretizedMixLogistic:
    """Mixture of K logistics for a pixel's C sub-pixels, each in `num_levels` bins.

    The means of a later channel depend linearly on the earlier sub-pixels of the same
    pixel. Salimans et al. 2017, section 2. Its parameters l [N, H, W, D] hold K logits,
    then blocks of K: for each channel its means, its log-scales and one of the
    C(C − 1)/2 blocks of coefficients, in the order (1 ← 0), (2 ← 0), (2 ← 1),
    (3 ← 0), …, as long as there are any; blocks that find no channel follow at the end
    (C > 3). For C = 3 this is the official layout.
    """

    def __init__(self, channels: int, nr_logistic_mix: int, num_levels: int = 256):
        self.channels = channels
        self.nr_logistic_mix = nr_logistic_mix
        self.num_levels = num_levels
        self.pairs = [(c, j) for c in range(channels) for j in range(c)]
        self.num_parameters = nr_logistic_mix * (1 + 2 * channels + len(self.pairs))
        # Uniform numbers that drawing one pixel takes.
        self.noise_size = nr_logistic_mix + channels

    def unpack(
        self, l: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor], list[list[tf.Tensor]]]:
        """l [..., D] → logits [..., K]; means, log-scales [C] of [..., K]; coefficients
        [c][j] of [..., K] for j < c. In float32, whatever l is."""
        l = ops.cast(l, "float32")
        blocks = iter(
            ops.split(l, self.num_parameters // self.nr_logistic_mix, axis=-1)
        )
        logits = next(blocks)
        means, log_scales, coefficients = [], [], []
        for c in range(self.channels):
            means.append(next(blocks))
            log_scales.append(ops.maximum(next(blocks), -7.0))
            if c < len(self.pairs):
                coefficients.append(ops.tanh(next(blocks)))
        coefficients += [ops.tanh(block) for block in blocks]
        of = dict(zip(self.pairs, coefficients, strict=True))
        rows = [[of[c, j] for j in range(c)] for c in range(self.channels)]
        return logits, means, log_scales, rows

    def log_prob(self, x: tf.Tensor, l: tf.Tensor) -> tf.Tensor:
        """Log-probability in nats, [N, H, W], of pixels x [N, H, W, C] in [-1, 1]."""
        logits, means, log_scales, coefficients = self.unpack(l)
        x = ops.cast(x, "float32")[..., None]  # [N, H, W, C, 1]
        means = [
            mean + sum(a * x[..., j, :] for j, a in enumerate(coefficients[c]))
            for c, mean in enumerate(means)
        ]
        means = ops.stack(means, axis=-2)  # [N, H, W, C, K]
        log_scales = ops.stack(log_scales, axis=-2)  # [N, H, W, C, K]
        per_channel = self._log_prob_of_bin(x, means, log_scales)
        joint = ops.sum(per_channel, axis=-2) + ops.log_softmax(logits)  # [N, H, W, K]
        return ops.logsumexp(joint, axis=-1)

    def _log_prob_of_bin(self, x, means, log_scales):
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
        log_pdf_mid = mid_in - log_scales - 2.0 * ops.softplus(mid_in)
        # Both branches of where are differentiated, so the log needs a floor.
        inside = ops.where(
            cdf_delta > 1e-5,
            ops.log(ops.maximum(cdf_delta, 1e-12)),
            log_pdf_mid - math.log((self.num_levels - 1) / 2),
        )
        upper = ops.where(x > 0.999, log_one_minus_cdf_min, inside)
        return ops.where(x < -0.999, log_cdf_plus, upper)

    def loss(self, x: tf.Tensor, l: tf.Tensor) -> tf.Tensor:
        """The official `discretized_mix_logistic_loss`: nats per image, [N]."""
        return -ops.sum(self.log_prob(x, l), axis=(1, 2))

    def draw(
        self,
        l: tf.Tensor,
        u: tf.Tensor,
        temperature: tf.Tensor | float = 1.0,
        quantize: bool = True,
    ) -> tf.Tensor:
        """Pixels [..., C] in [-1, 1] from parameters l [..., D].

        u [..., K + C] in (0, 1) chooses the component (Gumbel-max) and the place in
        each channel's logistic. The temperature divides the logits and multiplies the
        scales. Each sub-pixel is rounded to its bin as it is drawn, so that the draw
        comes from the distribution that `log_prob` measures; `quantize=False` leaves it
        where it fell, as the official `sample_from_discretized_mix_logistic` does.
        """
        logits, means, log_scales, coefficients = self.unpack(l)
        k = self.nr_logistic_mix
        gumbel = -ops.log(-ops.log(u[..., :k]))
        chosen = ops.one_hot(ops.argmax(logits / temperature + gumbel, axis=-1), k)
        logistic = ops.log(u[..., k:]) - ops.log(1.0 - u[..., k:])

        def select(block):
            return ops.sum(block * chosen, axis=-1)

        x = []
        for c in range(self.channels):
            scale = temperature * ops.exp(select(log_scales[c]))
            value = select(means[c]) + scale * logistic[..., c]
            value += sum(select(a) * x[j] for j, a in enumerate(coefficients[c]))
            value = ops.clip(value, -1.0, 1.0)
            x.append(round_to_levels(value, self.num_levels) if quantize else value)
        return ops.stack(x, axis=-1)


class EnergyDistance:
    """The official `energy_distance` between images and samples of an `EnergyHead`."""

    num_samples = 10

    def __init__(self, num_levels: int = 256):
        self.half_range = (num_levels - 1) / 2

    def _distance(self, x, y):
        """Σ over pixels of ‖x − y‖^1.5 in units of levels: [..., N]."""
        squares = ops.sum(ops.square(self.half_range * (x - y)), axis=-1)
        return ops.sum(ops.power(1e-10 + squares, 0.75), axis=(-2, -1))

    def loss(self, x: tf.Tensor, samples: tf.Tensor) -> tf.Tensor:
        """2 E‖x − x′‖^1.5 − E‖x′ − x″‖^1.5, [N], from samples [S, N, H, W, C]."""
        samples = ops.cast(samples, "float32")
        count = samples.shape[0]
        to_image = sum(self._distance(x, samples[i]) for i in range(count)) / count
        pairs = list(itertools.combinations(range(count), 2))
        apart = sum(self._distance(samples[i], samples[j]) for i, j in pairs)
        return 2.0 * to_image - apart / len(pairs)
