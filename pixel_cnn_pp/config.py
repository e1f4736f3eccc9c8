"""Config: the settings of a model and of a training run, checked, to and from JSON."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pixel_cnn_pp.checks import as_tuple, check_rules, check_types
from pixel_cnn_pp.files import open_atomic

# Allowed values of the settings that are names.
NONLINEARITIES = ("concat_elu", "elu", "relu")
LIKELIHOODS = ("mix_logistic", "softmax", "mix_logistic_continuous")
# (gated resnets, rows of the first kernel of u) of the networks with a small field.
FIELDS = {"11x5": (2, 1), "15x8": (3, 2)}
PRECISIONS = ("float32", "mixed_bfloat16")
MAX_PIXEL_VALUES, MAX_CODES = 256, 4096  # The largest num_levels.


def _one_of(names: Iterable[str]) -> tuple[Callable, str]:
    return lambda name: name in names, f"one of {', '.join(names)}"


# What settings must be, apart from their types. The largest float32 is 3.4e38.
RULES = {
    **dict.fromkeys(
        "nr_filters nr_logistic_mix num_labels embedding_size batch_size "
        "init_batch_size max_epochs max_steps max_bad_steps accumulate save_interval "
        "log_interval nr_gpu image_size worker_timeout".split(),
        (lambda x: x >= 1, "1 or more"),
    ),
    **dict.fromkeys(
        "save_steps num_samples seed".split(), (lambda x: x >= 0, "0 or more")
    ),
    "image_shape": (
        lambda shape: len(shape) == 3 and min(shape) >= 1,
        "(H, W, C), each 1 or more",
    ),
    "nr_resnet": (lambda x: 1 <= x <= 1000, "from 1 to 1000"),
    "nin_blocks": (lambda x: 0 <= x <= 1000, "from 0 to 1000"),
    "resnet_nonlinearity": _one_of(NONLINEARITIES),
    "likelihood": _one_of(LIKELIHOODS),
    "field": _one_of(FIELDS),
    "precision": _one_of(PRECISIONS),
    "dropout_p": (lambda x: 0 <= x <= 0.999, "from 0 (no dropout) to 0.999"),
    "learning_rate": (lambda x: 1e-38 < x < 3.4e38, "above 0 and finite"),
    "lr_decay": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "polyak_decay": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "mutation_rate": (lambda x: 0 <= x <= 1, "from 0 (none) to 1, for example 0.3"),
    "weight_decay": (
        lambda x: 0 <= x < 3.4e38,
        "0 (none) or more and finite, for example 10",
    ),
    "save_minutes": (
        lambda x: 0 <= x < math.inf,
        "0 (no checkpoints by time) or more, for example 30",
    ),
    "test_share": (lambda x: 0 < x < 1, "between 0 and 1, for example 0.1"),
    "validation_share": (
        lambda x: 0 <= x < 1,
        "0 (none) or more and less than 1, for example 0.05",
    ),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture of a PixelCNNPP.

    Args:
        image_shape: (H, W, C) of the images, any sizes, C ≥ 1.
        nr_resnet: residual blocks per stage.
        nr_filters: F, channels of both streams.
        nr_logistic_mix: K, components of the mixture.
        resnet_nonlinearity: 'concat_elu', 'elu' or 'relu'.
        num_labels: L of a class-conditional model, else None.
        dropout_p: share of each residual block's activations that training drops.
        num_levels: number of pixel values, 2 … 256, or of codes, 2 … 4096.
        likelihood: 'mix_logistic', 'softmax' or 'mix_logistic_continuous'.
        energy_distance: train with the energy distance instead of a likelihood.
        short_cuts: skip connections from the downsampling to the upsampling path.
        field: '11x5' or '15x8' for a network of one stage that sees at most so many
            columns of so many rows above, whatever nr_resnet is; None for the
            official one.
        nin_blocks: with a field, 1×1 gated resnets between two larger ones.
        autoregressive_channels: let each channel's parameters depend on the pixel's
            earlier channels through gated resnets, not only linearly.
        embedding_size: E where the values are codes, which have no order: each enters
            the network as a learned vector of this length. None for pixel values.

    Raises ValueError with the value and the rule for a setting that is not allowed.
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    nr_resnet: int = 5
    nr_filters: int = 160
    nr_logistic_mix: int = 10
    resnet_nonlinearity: str = "concat_elu"
    num_labels: int | None = None
    dropout_p: float = 0.5
    num_levels: int = 256
    likelihood: str = "mix_logistic"
    energy_distance: bool = False
    short_cuts: bool = True
    field: str | None = None
    nin_blocks: int = 0
    autoregressive_channels: bool = False
    embedding_size: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "image_shape", as_tuple(self.image_shape))
        check_types(self)
        check_rules(self, RULES)
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Rejects settings that have no meaning beside each other."""
        most, why = MAX_CODES, ""
        if self.embedding_size is None:
            most = MAX_PIXEL_VALUES
            why = (
                ", the number of values of 8 bits; "
                f"up to {MAX_CODES} codes need embedding_size, for example 64"
            )
        if not 2 <= self.num_levels <= most:
            raise ValueError(
                f"num_levels={self.num_levels}: must be from 2 to {most}{why}."
            )
        if self.nin_blocks and self.field is None:
            raise ValueError(
                f"nin_blocks={self.nin_blocks}: belongs to a network with a small "
                "field; set field too, for example field=11x5."
            )
        if self.field is not None and not self.short_cuts:
            raise ValueError(
                f"short_cuts=False: a network with field={self.field} has no skip "
                "connections; remove it."
            )
        if self.embedding_size is not None and self.likelihood != "softmax":
            raise ValueError(
                f"embedding_size={self.embedding_size}: codes have no order, which "
                f"likelihood={self.likelihood} needs; set likelihood=softmax."
            )
        if self.energy_distance:
            for name in ("likelihood", "autoregressive_channels"):
                value, default = getattr(self, name), getattr(ModelConfig, name)
                if value != default:
                    raise ValueError(
                        f"{name}={value}: a model of the energy distance has no "
                        "likelihood; remove one of the two."
                    )


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a training run, each a flag of train.py, but for NO_FLAGS.

    Raises ValueError with the value, the rule and the remedy for a setting that is not
    allowed.
    """

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    num_images: int | None = None
    images_per_step: int | None = None
    class_names: tuple[str, ...] | None = None
    fingerprint: str | None = None
    held_out_fingerprint: str | None = None
    run_id: int = 0
    data_set: str = "cifar"
    data_dir: str = ""
    image_size: int | None = None
    skip_bad_images: bool = False
    test_share: float | None = None
    tfds_split_test: str | None = None
    validation_share: float = 0.0
    official_checkpoint: str | None = None
    save_interval: int = 20
    save_steps: int = 0
    save_minutes: float = 30.0
    log_interval: int = 100
    class_conditional: bool = False
    learning_rate: float = 0.001
    lr_decay: float = 0.999995
    batch_size: int = 16
    init_batch_size: int = 16
    max_epochs: int = 5000
    max_steps: int | None = None
    max_bad_steps: int = 10
    accumulate: int = 1
    precision: str = "float32"
    remat: bool = False
    jit_compile: bool | None = None
    tf32: bool = True
    nr_gpu: int | None = None
    worker_timeout: int = 600
    polyak_decay: float = 0.9995
    polyak_warmup: bool = True
    mutation_rate: float = 0.0
    weight_decay: float = 0.0
    num_samples: int = 1
    seed: int = 1

    def __post_init__(self):
        object.__setattr__(self, "class_names", as_tuple(self.class_names))
        with _flag_names():
            check_types(self, int64_fields=["run_id"])
            check_rules(self, RULES)
            names, num_labels = self.class_names, self.model.num_labels
            if names is not None and len(names) != (num_labels or 0):
                raise ValueError(
                    f"class_names={names}: must be one for each of "
                    f"num_labels={num_labels}."
                )

    def step_images(self, replicas: int) -> int:
        """Images of a training step on so many replicas."""
        return self.batch_size * self.accumulate * replicas

    @property
    def held_out(self) -> str:
        """Which images are scored after each epoch: 'validation' or 'test'."""
        return "validation" if self.validation_share else "test"

    @classmethod
    def of(cls, **settings: Any) -> "Config":
        """From the settings of the run and those of its model, by name."""
        model = {name: settings.pop(name) for name in MODEL_SETTINGS & set(settings)}
        with _flag_names():
            model = ModelConfig(**model)
        return cls(model=model, **settings)

    def settings(self) -> dict:
        """All settings by name, those of the model among them."""
        values = dataclasses.asdict(self)
        return values.pop("model") | values

    def to_json(self) -> str:
        """All settings by name, as JSON that `from_json` takes."""
        values = self.settings()
        values["model_hash"] = model_hash(values)
        return json.dumps(values, indent=4) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """The Config that `to_json` wrote. ValueError names what does not fit."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"config {values!r:.60}: must be a JSON object.")
        saved_hash = values.pop("model_hash", None)  # Version 0.1.0 had none.
        if unknown := sorted(set(values) - MODEL_SETTINGS - RUN_SETTINGS):
            raise ValueError(
                f"config has {', '.join(unknown)}: unknown setting; was it written by "
                "a newer version?"
            )
        if missing := sorted(ALWAYS_SAVED - set(values)):
            raise ValueError(f"config has no {', '.join(missing)}: it is incomplete.")
        config = cls.of(**values)
        if saved_hash not in (None, model_hash(values)):
            raise ValueError(
                "settings of the model or class names are not those that train.py "
                "wrote; put them back."
            )
        return config

    def save(self, path: str | os.PathLike) -> None:
        """Writes `to_json` to a file."""
        with open_atomic(path) as file:
            file.write(self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Config":
        """Reads what `save` wrote. ValueError or OSError names the file."""
        try:
            with open(path) as file:
                return cls.from_json(file.read())
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: not a readable config: {error}") from error


def model_hash(values: dict) -> str:
    """Hash of the settings, by name, that give the parameters their meaning."""
    names = (MODEL_SETTINGS | {"class_names"}) & set(values)
    text = json.dumps({name: values[name] for name in names}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _names(config: type) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(config))


MODEL_SETTINGS = _names(ModelConfig)
RUN_SETTINGS = _names(Config) - {"model"}
# Settings that follow from the images, and those that have no flag.
FROM_DATA = ("image_shape", "num_labels", "num_images")
NO_FLAGS = (
    *FROM_DATA,
    "images_per_step",
    "class_names",
    "fingerprint",
    "held_out_fingerprint",
    "run_id",
)
# Settings without which a file is no config of a run.
ALWAYS_SAVED = {"image_shape", "nr_resnet", "nr_filters", "nr_logistic_mix", "data_set"}


@contextlib.contextmanager
def _flag_names() -> Iterator[None]:
    """Prepends '--' to a ValueError that begins with a setting which has a flag."""
    try:
        yield
    except ValueError as error:
        is_flag = str(error).partition("=")[0] not in NO_FLAGS
        raise ValueError(f"--{error}" if is_flag else str(error)) from error
