"""imagenet: the small ImageNet of van den Oord et al., streamed from TFDS.

This is `downsampled_imagenet`, without labels, at 32×32 or 64×64; its validation split
is the test set. `imagenet_resized` is another set of images: bits/dim on it are not
comparable. The original address is dead, so the tars are put in place by hand.
"""

import os

from data import tfds_images
from data.source import Source, check_image_size

SIZES = {"imagenet": 32, "imagenet32": 32, "imagenet64": 64}


def load(
    name: str, data_dir: str | None, split: str, labels: bool, image_size: int | None
) -> Source:
    """A split, streamed; prepares the data set where needed."""
    size = SIZES[name]
    if labels:
        raise ValueError(
            f"We currently don't have labels for the small imagenet data set ({name}); "
            "leave class-conditional off, or use cifar, shapes, npz or folder."
        )
    check_image_size(name, (size, size, 3), image_size)
    tars = [f"{part}_{size}x{size}.tar" for part in ("train", "valid")]
    places = [] if data_dir is None else [os.path.join(data_dir, tar) for tar in tars]
    tfds_set = tfds_images.TfdsSet(
        name,
        tfds_name=f"downsampled_imagenet/{size}x{size}",
        image_shape=(size, size, 3),
        remedy=f"put {' and '.join(tars)} into data_dir (their address is dead).",
        manual_dir=data_dir if any(map(os.path.exists, places)) else None,
    )
    return tfds_images.load(tfds_set, data_dir, split, labels, image_size, "validation")
