"""Checkpoints of openai/pixel-cnn (TF1): architecture, parameters, Adam's moments."""

import os

import numpy as np
import tensorflow as tf

from pixel_cnn_pp.checkpoint import check_fit, open_reader, read_tensor
from pixel_cnn_pp.errors import tensorflow_reason
from pixel_cnn_pp.model import PixelCNNPP

_AVERAGE = "/ExponentialMovingAverage"


def _open(prefix: str):
    prefix = os.fspath(prefix)
    try:
        return open_reader(prefix)
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"--official_checkpoint={prefix}: no readable TF1 checkpoint; give the "
            "path up to .ckpt, without .index or .data."
        ) from error


def _read(prefix: str, reader, key: str) -> np.ndarray:
    try:
        return read_tensor(reader, key)
    except tf.errors.OpError as error:
        raise ValueError(
            f"--official_checkpoint={prefix}: is damaged ({tensorflow_reason(error)}); "
            "copy it again."
        ) from error


def infer(prefix: str, resnet_nonlinearity: str | None = None) -> dict:
    """Keyword arguments of PixelCNNPP, inferred from the shapes in the checkpoint.

    nr_filters, nr_resnet, nr_logistic_mix, num_labels, energy_distance, and
    resnet_nonlinearity: concat_elu doubles the channels; elu and relu have the same
    shapes and must be given. Raises ValueError if the checkpoint cannot be read, or its
    shapes make no such model.
    """
    shapes = _open(prefix).get_variable_to_shape_map()
    try:
        image_and_ones, nr_filters = shapes["model/conv2d_0/V"][2:]
        widened = shapes["model/conv2d_3/V"][2] == 2 * nr_filters
        convs = _count(shapes, "conv2d")
        nr_resnet, rest = divmod(convs - 15, 24)
        head = _count(shapes, "dense") - (9 * nr_resnet + 4)
        units = shapes[f"model/dense_{_count(shapes, 'dense') - 1}/V"][1]
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"--official_checkpoint={prefix}: not a PixelCNN++ of openai/pixel-cnn: it "
            f"lacks {error}."
        ) from error
    channels = image_and_ones - 1
    energy_distance = head == 4
    per_component = 1 + 2 * channels + channels * (channels - 1) // 2
    nr_logistic_mix, left = divmod(units, per_component)
    if rest or nr_resnet < 1 or head not in (1, 4) or (left and not energy_distance):
        raise ValueError(
            f"--official_checkpoint={prefix}: {convs} convolutions and {units} outputs "
            "make no PixelCNN++ of openai/pixel-cnn."
        )
    if widened and resnet_nonlinearity not in (None, "concat_elu"):
        raise ValueError(
            f"--resnet_nonlinearity={resnet_nonlinearity}: {prefix} was trained with "
            "concat_elu, as its shapes show."
        )
    if not widened and resnet_nonlinearity not in ("elu", "relu"):
        raise ValueError(
            f"--resnet_nonlinearity={resnet_nonlinearity}: {prefix} was not trained "
            "with concat_elu, as its shapes show; give elu or relu, which they do not."
        )
    labels = shapes.get("model/conditional_weights_0/hw")
    return {
        "nr_resnet": nr_resnet,
        "nr_filters": nr_filters,
        "nr_logistic_mix": 10 if energy_distance else nr_logistic_mix,
        "resnet_nonlinearity": resnet_nonlinearity or "concat_elu",
        "num_labels": labels[0] if labels else None,
        "energy_distance": energy_distance,
    }


def _count(shapes: dict, kind: str) -> int:
    return sum(
        key.startswith(f"model/{kind}_") and key.endswith("/V") for key in shapes
    )


def build_model(
    prefix: str,
    resnet_nonlinearity: str | None = None,
    averaged: bool = True,
    image_size: tuple[int, int] = (32, 32),
) -> PixelCNNPP:
    """The model of a checkpoint: a TF1 `params_*.ckpt` of openai/pixel-cnn.

    Args:
        prefix: the path up to .ckpt, without .index or .data.
        resnet_nonlinearity: 'elu' or 'relu' if it is not concat_elu; see `infer`.
        averaged: take the Polyak averages (EMA), not the raw parameters.
        image_size: height and width of the images, in pixels.

    Raises ValueError if the checkpoint cannot be read or holds no such model, or one
    with NaN or infinite weights.
    """
    arguments = infer(prefix, resnet_nonlinearity)
    shapes = _open(prefix).get_variable_to_shape_map()
    channels = shapes["model/conv2d_0/V"][2] - 1  # One is the channel of ones.
    model = PixelCNNPP((*image_size, channels), **arguments, initial_weights=False)
    load(model, prefix, averaged)
    model.check_weights()
    return model


def load(model: PixelCNNPP, prefix: str, averaged: bool = True) -> None:
    """Sets the parameters of `model` to the official averages, or the raw parameters.

    `prefix` is the path up to .ckpt. Raises ValueError that lists the missing and the
    unknown parameters of the checkpoint.
    """
    reader = _open(prefix)
    suffix = _AVERAGE if averaged else ""
    saved = {
        key.removesuffix(suffix).removeprefix("model/"): shape
        for key, shape in reader.get_variable_to_shape_map().items()
        if key.startswith("model/") and key.endswith(_AVERAGE) == averaged
    }
    wanted = {name: list(p.shape) for name, p in model.parameters.items()}
    check_fit(prefix, wanted, saved)
    for name, parameter in model.parameters.items():
        parameter.assign(_read(prefix, reader, f"model/{name}{suffix}"))


def load_adam(
    v: dict[str, tf.Variable], mg: dict[str, tf.Variable], prefix: str
) -> int:
    """Sets Adam's moments, by parameter; returns t, the number of the next step.

    Raises ValueError that lists the missing and the unknown variables. The official
    code saves them without names: `Variable` is t, and `Variable_1`,
    `Variable_2`, … are the second and the first moment of each parameter in turn.
    """
    reader = _open(prefix)
    shapes = reader.get_variable_to_shape_map()
    moments = {}
    for i, name in enumerate(v):
        moments[f"Variable_{2 * i + 1}"] = (mg[name], mg[name].shape.as_list())
        moments[f"Variable_{2 * i + 2}"] = (v[name], v[name].shape.as_list())
    saved = {key: shapes[key] for key in shapes if key.split("_")[0] == "Variable"}
    wanted = {"Variable": []} | {key: shape for key, (_, shape) in moments.items()}
    check_fit(prefix, wanted, saved)
    for key, (variable, _) in moments.items():
        variable.assign(_read(prefix, reader, key))
    return int(np.round(_read(prefix, reader, "Variable")))
