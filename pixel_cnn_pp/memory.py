"""Memory that a model and a batch take at least, compared with the machine's."""

import math
import os

import tensorflow as tf

from pixel_cnn_pp.config import ModelConfig
from pixel_cnn_pp.images import pixel_dtype
from pixel_cnn_pp.topology import topology

FLOAT = 4  # Bytes.
GIB = 2**30
MAX_SAMPLE_BYTES = 4 * GIB  # All samples are in memory at once.


def machine_bytes() -> int:
    """Physical memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _output_size(config: ModelConfig) -> int:
    """Least number of outputs per pixel: a weight, mean and scale per component, or the
    logits of a softmax."""
    if config.energy_distance:
        return 0
    if config.likelihood == "softmax":
        return config.image_shape[-1] * config.num_levels
    return 3 * config.nr_logistic_mix


def image_bytes(config: ModelConfig) -> int:
    """Bytes of an image."""
    return math.prod(config.image_shape) * pixel_dtype(config.num_levels).itemsize


def check_parameters(config: ModelConfig, copies: int = 1) -> None:
    """Raises ValueError where so many copies of the parameters cannot fit.

    Counted are the two convs of each gated resnet, the embedding and the output layer.
    """
    f = config.nr_filters
    areas = [math.prod(b.filter_size) for b in topology(config) if "gated" in b.kind]
    count = 3 * f**2 * sum(areas) + f * _output_size(config)
    count += config.num_levels * (config.embedding_size or 0)
    needed, memory = count * copies * FLOAT, machine_bytes()
    if needed > memory:
        copied = (
            f" in {copies} copies (EMA and Adam's among them)" if copies > 1 else ""
        )
        raise ValueError(
            f"nr_resnet={config.nr_resnet}, nr_filters={f}, nr_logistic_mix="
            f"{config.nr_logistic_mix}: the parameters take at least "
            f"{needed / GIB:.3g} GiB{copied}, and this machine has {memory / GIB:.3g} "
            "GiB; give smaller ones, for example the official 5, 160 and 10."
        )


def check_batch(
    flag: str, images: int, config: ModelConfig, training: bool = False
) -> None:
    """Raises ValueError where the feature maps of a batch cannot fit.

    Training keeps the output of each block for the gradients; without, four feature
    maps exist at once in a gated resnet. On GPUs TensorFlow itself reports it.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    height, width, _ = config.image_shape
    feature_maps = sum(b.stride**-2 for b in topology(config)) if training else 4
    floats = height * width * (feature_maps * config.nr_filters + _output_size(config))
    most = int(machine_bytes() / (floats * FLOAT))
    if images > most:
        remedy = f"--{flag}={most} or less" if most else "a smaller model or images"
        raise ValueError(
            f"--{flag}={images}: the feature maps of {height}×{width} images "
            f"take at least {images * floats * FLOAT / GIB:.3g} GiB, and this machine "
            f"has {machine_bytes() / GIB:.3g} GiB; give {remedy}."
        )


def check_samples(
    num_samples: int, image_bytes: int, images_each: int = 1, flag: str = "num_samples"
) -> None:
    """Raises ValueError where the samples take more than MAX_SAMPLE_BYTES.

    `images_each`: images that each of `num_samples`, given by `flag`, stands for.
    """
    most = MAX_SAMPLE_BYTES // (image_bytes * images_each)
    if num_samples > most:
        raise ValueError(
            f"--{flag}={num_samples}: the samples must fit in "
            f"{MAX_SAMPLE_BYTES // GIB} GiB; give {most} or fewer."
        )
