"""PixelCNNPP: the public face of the network. Scores, samples and completes images."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pixel_cnn_pp import distribution, prng
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.checks import as_tuple, check_integer
from pixel_cnn_pp.config import PRECISIONS, ModelConfig
from pixel_cnn_pp.fit import TrainableNetwork
from pixel_cnn_pp.layers import fusion
from pixel_cnn_pp.layers.base import register
from pixel_cnn_pp.likelihood import ContinuousMixLogistic
from pixel_cnn_pp.sampling.sampler import MIN_TEMPERATURE, Sampler

Progress = Callable[[int, int], None]  # (images done, images in all)
# What is set after a model is made, by its key in `get_config`: the attribute that has
# it, the method that sets it.
RUNTIME_SETTINGS = {
    "jit_compile": ("jit_compiles", "set_jit_compile"),
    "remat": ("remat", "set_remat"),
    "kernels": ("kernel_dtype", "round_kernels"),
    "dequantization_draws": ("dequantization_draws", "set_dequantization_draws"),
}


@register
class PixelCNNPP(TrainableNetwork):
    """PixelCNN++ of Salimans et al. 2017, as openai/pixel-cnn builds it.

    Args:
        *architecture, **settings: those of `config.ModelConfig`: image_shape,
            nr_resnet, nr_filters, nr_logistic_mix, num_labels, dropout_p, …
        seed: of the initial weights and, in `fit`, of dropout; 0 … 2147483647.
        dtype: 'float32' or 'mixed_bfloat16', see `set_precision`.
        initial_weights: False makes them zeros, for weights to be loaded.

    Raises ValueError with the value and the rule for a setting that is not allowed.

    Images are uint8 with pixel values 0 … num_levels − 1 wherever they are called
    images, or int32 with more than 256 values; `call` takes floats in [-1, 1].
    """

    def __init__(
        self,
        *architecture: Any,
        seed: int = 0,
        dtype: str = "float32",
        initial_weights: bool = True,
        name: str = "pixel_cnn_pp",
        **settings: Any,
    ) -> None:
        config = ModelConfig(*architecture, **settings)
        check_integer("seed", seed, 0, prng.LIMIT - 1)
        super().__init__(config, seed, initial_weights, name)
        self.last_seed: tuple[int, int] | None = None
        # Names of the labels of a trained model, where its data set has any.
        self.class_names: tuple[str, ...] | None = None
        self.supports_jit = self.samples_with_xla  # What Keras asks before fit.
        self.set_precision(getattr(dtype, "name", dtype))  # May be a DTypePolicy.

    def get_config(self) -> dict:
        """The arguments that it was made with, and what was set since."""
        set_since = {
            key: getattr(self, name) for key, (name, _) in RUNTIME_SETTINGS.items()
        }
        set_since["class_names"] = self.class_names
        made_with = {"seed": self.seed, "dtype": self.precision, "name": self.name}
        return dataclasses.asdict(self.config) | made_with | {"set_since": set_since}

    @classmethod
    def from_config(cls, config: dict) -> "PixelCNNPP":
        """A new model with these arguments, and what was set since."""
        config = dict(config)
        since = config.pop("set_since", {})
        model = cls(**config)
        for key, (_, setter) in RUNTIME_SETTINGS.items():
            if since.get(key) is not None:
                getattr(model, setter)(since[key])
        model.class_names = as_tuple(since.get("class_names"))
        return model

    # What a traced function reads as a Python value is set here, so that a change takes
    # effect: the functions are traced again.

    def set_precision(self, precision: str) -> None:
        """Runs the network in 'float32' or 'mixed_bfloat16'.

        The latter computes the residual blocks in bfloat16, from kernels that are made
        in float32; the input layers, the head, the residual sums, the likelihood and
        all parameters stay in float32. Sampling stays in float32, see `round_kernels`.
        ValueError for another precision.
        """
        if precision not in PRECISIONS:
            raise ValueError(
                f"precision={precision}: must be one of {', '.join(PRECISIONS)}."
            )
        self.activation_dtype = "float32" if precision == "float32" else "bfloat16"
        self._retrace()

    @property
    def precision(self) -> str:
        """See `set_precision`."""
        return "float32" if self.activation_dtype == "float32" else "mixed_bfloat16"

    def set_jit_compile(self, jit_compile: bool) -> None:
        """True: XLA compiles sampling, and activation, padding and gating in scoring
        and in `fit`, which then are faster, after a second or two of compilation for
        each number of images. False: no XLA. By default it compiles sampling alone,
        where it can.
        """
        had_xla, self.jit_compiles = self.samples_with_xla, jit_compile
        self.supports_jit = self.samples_with_xla
        if not jit_compile and self.compiled:
            self.jit_compile = False  # Of `fit`.
        self._retrace_scores()
        if self.samples_with_xla != had_xla:
            self.sampler = Sampler(self, self.samples_with_xla)

    @property
    def samples_with_xla(self) -> bool:
        """Whether XLA compiles sampling."""
        return distribution.xla_scope(self.jit_compiles) is not False

    def set_remat(self, remat: bool) -> None:
        """Recomputes the activations inside residual blocks for the gradient: less
        memory, more time."""
        self.remat = remat
        self._retrace_scores()

    def round_kernels(self, dtype: str = "bfloat16") -> None:
        """Rounds all kernels to 'bfloat16', or not ('float32'), wherever they are used.

        The sampler then stores them in half the bytes. The parameters do not change.
        ValueError for another dtype.
        """
        if dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype={dtype}: must be float32 or bfloat16.")
        for layer in self.linear_layers:
            layer.rounded_to = dtype
        self._retrace()

    @property
    def kernel_dtype(self) -> str:
        """See `round_kernels`."""
        return self.linear_layers[0].rounded_to

    @property
    def is_exact(self) -> bool:
        """Whether scores are exact, and not estimates of a bound by dequantization."""
        return not isinstance(self.objective, ContinuousMixLogistic)

    @property
    def dequantization_draws(self) -> int | None:
        """See `set_dequantization_draws`; None for a model with exact scores."""
        return None if self.is_exact else self.objective.dequantization_draws

    def set_dequantization_draws(self, draws: int) -> None:
        """Dequantizations per image over which a 'mix_logistic_continuous' model
        averages its bound, 1 to 1000, 8 by default. ValueError for other numbers, and
        for models with exact scores."""
        if self.is_exact:
            raise ValueError(
                f"dequantization_draws={draws}: the scores of this model are exact; "
                "remove it."
            )
        check_integer("dequantization_draws", draws, 1, 1000)
        self.objective.dequantization_draws = draws
        self._retrace_scores()

    def check_weights(self) -> None:
        """Raises ValueError where weights are NaN or infinite.

        What loads, exports or scores a trained model calls it; `sample` does not.
        """
        for name, parameter in self.parameters.items():
            if not np.isfinite(parameter.numpy()).all():
                raise ValueError(
                    f"this model has NaN or infinite weights, for example in {name}: "
                    "its training diverged; retrain it with a lower --learning_rate."
                )

    def _retrace(self):
        self._retrace_scores()
        self.sampler = Sampler(self, self.samples_with_xla)

    def _retrace_scores(self):
        functions = self._log_prob, self._log_prob_per_pixel
        self._compiled_log_prob, self._compiled_log_prob_per_pixel = (
            tf.function(function, reduce_retracing=True, autograph=False)
            for function in functions
        )
        # Keras makes them again.
        self.train_function = self.test_function = self.predict_function = None

    def log_prob(
        self, images: npt.ArrayLike, labels: npt.ArrayLike | None = None
    ) -> tf.Tensor:
        """Log-probability in nats, float32 [N], of uint8 images [N, H, W, C].

        `labels`: int [N], for a class-conditional model. For a
        'mix_logistic_continuous' model an estimate of a lower bound on it, the same in
        each call. Raises ValueError for images or labels that do not fit the model, and
        for a model of the energy distance, which has no likelihood. Salimans et al.
        2017, eq. 2.
        """
        return self._compiled_log_prob(*self.check_scored(images, labels))

    def log_prob_per_pixel(
        self, images: npt.ArrayLike, labels: npt.ArrayLike | None = None
    ) -> tf.Tensor:
        """Log-probability in nats of each pixel, all channels, given those before it.

        [N, H, W] for uint8 images [N, H, W, C]; their sums are the images' `log_prob`.
        """
        return self._compiled_log_prob_per_pixel(*self.check_scored(images, labels))

    def _log_prob(self, images, labels):
        with fusion.fusing(self.fuses):
            return -self.image_loss(images, labels)

    def _log_prob_per_pixel(self, images, labels):
        x = image_ops.to_float(images, self.num_levels)
        with fusion.fusing(self.fuses):
            return self.objective.log_prob_per_pixel(x, self(x, labels))

    def sample(
        self,
        n: int,
        labels: npt.ArrayLike | None = None,
        seed: npt.ArrayLike | None = None,
        temperature: float = 1.0,
        progress: Progress | None = None,
        first: int = 0,
    ) -> tf.Tensor:
        """Samples uint8 images [n, H, W, C] with pixel values 0 … num_levels − 1.

        Args:
            n: 1 or more. Batches of 1, 4, 16 and 64, on a GPU also 256 and 1,024, are
                compiled when first sampled.
            labels: int [n], for a class-conditional model.
            seed: an integer or two; 3 is (3, 0). Image i is a function of (seed, i),
                not of n. None takes other images each time; `last_seed` then has the
                seed that gives them again.
            temperature: above 0; divides logits, multiplies the scales of logistics.
            progress: called with the numbers of images done and in all, now and then.
            first: samples the images first … first + n − 1 of the seed.

        Raises ValueError with the value, the rule and the remedy for an argument that
        is not allowed.
        """
        check_integer("n", n, 1, prng.LIMIT - 1)
        check_integer("first", first, 0, prng.LIMIT - 1 - n)
        images = np.zeros((n, *self.image_shape), self.image_dtype)
        keep = np.zeros(images.shape[:3], bool)
        return self._sample(images, keep, labels, seed, temperature, progress, first)

    def complete(
        self,
        images: npt.ArrayLike,
        rows: int | None = None,
        labels: npt.ArrayLike | None = None,
        seed: npt.ArrayLike | None = None,
        temperature: float = 1.0,
        mask: npt.ArrayLike | None = None,
        progress: Progress | None = None,
    ) -> tf.Tensor:
        """Keeps the first `rows` rows of uint8 images [N, H, W, C], samples the rest.

        In place of `rows`, `mask`, bool [H, W] or [N, H, W], is True where a pixel is
        kept. Pixels are sampled in raster order, each given all before it, kept or
        sampled. If the kept pixels come first in that order, the result is an exact
        sample from the model given them. A pixel sampled before a kept one does not see
        it, and then the result is no sample from that conditional distribution.
        uint8 [N, H, W, C]; other arguments and errors as in `sample`.
        """
        images = self.check_images(images).numpy()
        n, height, width, _ = images.shape
        if (rows is None) == (mask is None):
            raise ValueError(f"rows={rows}, mask={mask}: give one of the two.")
        if rows is not None:
            if rows not in range(height + 1):
                raise ValueError(
                    f"rows={rows!r}: the images have {height}; give 0 to {height}."
                )
            mask = image_ops.first_rows(rows, self.image_shape)
        mask = np.asarray(mask)
        shapes = (height, width), (n, height, width)
        if mask.dtype != bool or mask.shape not in shapes:
            raise ValueError(
                f"mask {mask.dtype} {list(mask.shape)}: must be bool [{height}, "
                f"{width}] or [{n}, {height}, {width}]."
            )
        keep = np.broadcast_to(mask, (n, height, width))
        return self._sample(images, keep, labels, seed, temperature, progress)

    def _sample(self, images, keep, labels, seed, temperature, progress, first=0):
        self.check_temperature(temperature)
        seed = self.last_seed = prng.new_seed() if seed is None else prng.seed_of(seed)
        n, most = len(images), self.sampler.batch_sizes[-1]
        labels = self.check_labels(labels, n)
        labels = np.zeros([n], np.int32) if labels is None else labels
        batches = []
        # One call per largest batch, so that `progress` is called in between; the
        # Sampler divides the rest.
        for start in range(0, n, most):
            part = slice(start, start + most)
            batch = self.sampler.sample(
                tf.constant(images[part]),
                tf.constant(keep[part]),
                tf.constant(labels[part]),
                tf.constant(seed, tf.int32),
                tf.constant(temperature, tf.float32),
                tf.constant(first + start),
            )
            batches.append(batch)
            if progress is not None:
                progress(min(start + most, n), n)
        return tf.concat(batches, axis=0)

    def check_temperature(self, temperature: float) -> None:
        """Raises ValueError if the model cannot sample at this temperature."""
        value = np.asarray(temperature)
        if value.shape != () or value.dtype.kind not in "iuf":
            raise ValueError(f"temperature={temperature!r}: must be one number.")
        with np.errstate(over="ignore"):  # Then it is infinite, and rejected.
            rounded = np.float32(temperature)
        if not MIN_TEMPERATURE <= rounded < np.inf:
            raise ValueError(
                f"temperature={temperature}: must be {MIN_TEMPERATURE} or more, and "
                "finite in float32; 1 is the model's."
            )
        if self.energy_distance and temperature != 1:
            raise ValueError(
                f"temperature={temperature}: must be 1 for a model trained with the "
                "energy distance; remove it."
            )
