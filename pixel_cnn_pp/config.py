"""Config: the settings of a training run, checked, to and from JSON."""

import dataclasses
import json
import math
import os

from pixel_cnn_pp.likelihood import LIKELIHOODS
from pixel_cnn_pp.nn import PRECISIONS
from pixel_cnn_pp.nonlinearities import NONLINEARITIES
from pixel_cnn_pp.topology import FIELDS

# Settings that the shape or meaning of the parameters depends on.
ARCHITECTURE = (
    "image_shape",
    "nr_resnet",
    "nr_filters",
    "nr_logistic_mix",
    "resnet_nonlinearity",
    "num_labels",
    "num_levels",
    "likelihood",
    "energy_distance",
    "short_cuts",
    "field",
    "nin_blocks",
    "autoregressive_channels",
)

# Settings that the images tell; no flag sets them.
FROM_DATA = ("image_shape", "num_labels", "num_images")
NO_FLAGS = (*FROM_DATA, "images_per_step")


def refuse_bad_model(arguments: dict, prefix: str = "") -> None:
    """Raises ValueError where these are no arguments of a PixelCNNPP.

    `prefix` stands before a name in the message: '--' where it is a flag to the user.
    """
    names = ("nr_resnet", "nr_filters", "nr_logistic_mix", "num_labels")
    _refuse_small(arguments, dict.fromkeys(names, 1) | {"nin_blocks": 0}, prefix)
    levels, p = arguments["num_levels"], arguments["dropout_p"]
    if not 2 <= levels <= 256:
        raise ValueError(
            f"{prefix}num_levels={levels}: must be from 2 to 256; 256 is 8 bits."
        )
    known = {"resnet_nonlinearity": NONLINEARITIES, "likelihood": LIKELIHOODS}
    if arguments["field"] is not None:
        known["field"] = FIELDS
    for name, values in known.items():
        if arguments[name] not in values:
            raise ValueError(
                f"{prefix}{name}={arguments[name]}: must be one of {', '.join(values)}."
            )
    if not 0 <= p <= 0.999:
        raise ValueError(
            f"{prefix}dropout_p={p}: must be from 0, which drops nothing, to 0.999."
        )
    _refuse_contradictions(arguments, prefix)
    shape = arguments["image_shape"]
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"image_shape={shape}: must be (H, W, C), each 1 or more.")


def _refuse_contradictions(arguments: dict, prefix: str) -> None:
    """Raises ValueError where one setting leaves another without a meaning."""
    field, nin_blocks = arguments["field"], arguments["nin_blocks"]
    if nin_blocks and field is None:
        raise ValueError(
            f"{prefix}nin_blocks={nin_blocks}: they stand in a network with a small "
            f"field; give {prefix}field too."
        )
    if field is not None and not arguments["short_cuts"]:
        raise ValueError(
            f"{prefix}short_cuts=False: a network with {prefix}field={field} has none; "
            "leave it out."
        )
    if arguments["energy_distance"]:
        defaults = {"likelihood": "mix_logistic", "autoregressive_channels": False}
        for name, default in defaults.items():
            if arguments[name] != default:
                raise ValueError(
                    f"{prefix}{name}={arguments[name]}: a model of the energy distance "
                    "has no likelihood; leave one of the two out."
                )


def _refuse_small(values: dict, at_least: dict[str, int], prefix: str) -> None:
    for name, bound in at_least.items():
        if values[name] is not None and values[name] < bound:
            raise ValueError(f"{prefix}{name}={values[name]}: must be {bound} or more.")


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a run depends on besides its images; a flag of train.py each.

    Those of NO_FLAGS come from the images and the devices. Raises ValueError with the
    value, the rule and the remedy where a setting is not allowed.
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    num_labels: int | None = None
    num_images: int | None = None
    images_per_step: int | None = None
    data_set: str = "cifar"
    data_dir: str = ""
    image_size: int | None = None
    skip_bad_images: bool = False
    save_interval: int = 20
    save_steps: int = 0
    log_interval: int = 100
    nr_resnet: int = 5
    nr_filters: int = 160
    nr_logistic_mix: int = 10
    resnet_nonlinearity: str = "concat_elu"
    num_levels: int = 256
    class_conditional: bool = False
    likelihood: str = "mix_logistic"
    energy_distance: bool = False
    short_cuts: bool = True
    field: str | None = None
    nin_blocks: int = 0
    autoregressive_channels: bool = False
    learning_rate: float = 0.001
    lr_decay: float = 0.999995
    batch_size: int = 16
    init_batch_size: int = 16
    dropout_p: float = 0.5
    max_epochs: int = 5000
    max_steps: int | None = None
    max_bad_steps: int = 10
    accumulate: int = 1
    precision: str = "float32"
    remat: bool = False
    jit_compile: bool | None = None
    nr_gpu: int | None = None
    polyak_decay: float = 0.9995
    polyak_warmup: bool = True
    num_samples: int = 1
    seed: int = 1

    def __post_init__(self):
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        refuse_bad_model(self.model_arguments(), "--")
        at_least = {"save_steps": 0, "num_samples": 0, "seed": 0}
        at_least |= dict.fromkeys(["batch_size", "init_batch_size", "max_epochs"], 1)
        at_least |= dict.fromkeys(["save_interval", "log_interval", "max_steps"], 1)
        at_least |= {"max_bad_steps": 1, "accumulate": 1}
        at_least |= dict.fromkeys(["nr_gpu", "image_size"], 1)
        _refuse_small(dataclasses.asdict(self), at_least, "--")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"--learning_rate={self.learning_rate}: must be above 0.")
        for name in ("lr_decay", "polyak_decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"--{name}={getattr(self, name)}: must be above 0 and at most 1."
                )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"--precision={self.precision}: must be one of {', '.join(PRECISIONS)}."
            )
        if self.seed >= 2**31:
            raise ValueError(f"--seed={self.seed}: must be below 2147483648.")

    def model_arguments(self) -> dict:
        """Keyword arguments of the PixelCNNPP that this run trains."""
        names = (*ARCHITECTURE, "dropout_p", "seed")
        return {name: getattr(self, name) for name in names}

    def refuse_other_run(self, saved: "Config", data_is_known: bool = True) -> None:
        """Raises ValueError where a run with the settings `saved` cannot go on with
        these: its parameters have other shapes, or its images another order."""
        # class_conditional first: it decides on num_labels, which is no flag.
        for name in ("class_conditional", *ARCHITECTURE, "seed", "num_images"):
            if name in FROM_DATA and not data_is_known:
                continue
            now, then = getattr(self, name), getattr(saved, name)
            if now != then:
                flag, remedy = f"--{name}={now}", f"--{name}={then}"
                if name in FROM_DATA:
                    flag, remedy = f"images with {name}={now}", "the images it had"
                raise ValueError(
                    f"{flag}: the run in this --save_dir has {then}; give {remedy} to "
                    "go on with it, or another --save_dir."
                )
        if data_is_known and self.images_per_step != saved.images_per_step:
            raise ValueError(
                f"--batch_size={self.batch_size}: a step of all replicas takes "
                f"{self.images_per_step} images, and one of the run in this --save_dir "
                f"{saved.images_per_step}, on which their order depends; give a "
                "--batch_size that makes it so, or another --save_dir."
            )

    def to_json(self) -> str:
        """All settings by name, as JSON that `from_json` takes."""
        return json.dumps(dataclasses.asdict(self), indent=4) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """The Config that `to_json` wrote. ValueError names what does not fit."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"config {values!r:.60}: must be a JSON object.")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(
                f"config has {', '.join(unknown)}: not known here; was it written by a "
                "newer version?"
            )
        return cls(**values)

    def save(self, path: str) -> None:
        """Writes the JSON in one piece: the file is the old one or the new one."""
        with open(path + ".new", "w") as file:
            file.write(self.to_json())
        os.replace(path + ".new", path)

    @classmethod
    def load(cls, path: str) -> "Config":
        """Reads what `save` wrote. ValueError or OSError names the file."""
        try:
            with open(path) as file:
                return cls.from_json(file.read())
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: not a readable config: {error}") from error
