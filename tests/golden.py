"""Numbers that the official code printed, and models set to its parameters."""

import json
import pathlib

import numpy as np

from pixel_cnn_pp import PixelCNNPP

FOLDER = pathlib.Path(__file__).parent / "golden"
LIKELIHOOD = ("unconditional", "class_conditional_elu")


class Golden:
    """One configuration: its arrays by name, its parameters by group."""

    def __init__(self, name: str):
        with np.load(FOLDER / f"{name}.npz") as file:
            self.arrays = dict(file)
        self.config = json.loads(str(self["config_json"]))
        self.checkpoint = str(FOLDER / f"{name}.ckpt")
        self.x = (self["images"].astype(np.float32) - 127.5) / 127.5
        self.labels = self.arrays.get("labels")

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def model_arguments(self) -> dict:
        names = ["nr_resnet", "nr_filters", "nr_logistic_mix", "resnet_nonlinearity"]
        return {name: self.config[name] for name in names} | {
            "image_shape": self["images"].shape[1:],
            "num_labels": self.config.get("num_labels"),
            "energy_distance": self.config["energy_distance"],
            "dropout_p": 0.0,
        }

    def model(self, group: str = "params_after_init") -> PixelCNNPP:
        model = PixelCNNPP(**self.model_arguments())
        assert list(model.parameters) == list(self["names"])
        for parameter, value in zip(
            model.parameters.values(), self.tensors(model, group), strict=True
        ):
            parameter.assign(value)
        return model

    def tensors(self, model: PixelCNNPP, group: str) -> list[np.ndarray]:
        """A group's numbers, in the order and the shapes of the model's parameters."""
        shapes = [tuple(p.shape) for p in model.parameters.values()]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        assert len(self[group]) == ends[-1]
        parts = np.split(self[group], ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def relative_error(ours, theirs) -> float:
    """‖ours − theirs‖ / ‖theirs‖ in float64."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def worst_error(model: PixelCNNPP, ours: list, theirs: list) -> tuple[float, str]:
    """The largest relative error over the tensors, and whose it is."""
    pairs = zip(ours, theirs, model.parameters, strict=True)
    return max((relative_error(a, b), name) for a, b, name in pairs)


def together(tensors: list) -> np.ndarray:
    """All elements of the tensors, float64 [N]."""
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in tensors])
