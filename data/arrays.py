"""ArraySource: a split held in memory."""

import dataclasses

import numpy as np
import tensorflow as tf

from data.source import ChunkedSource


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ArraySource(ChunkedSource):
    """Images [N, H, W, C] and, where asked for, labels int32 [N]."""

    images: tf.Tensor = dataclasses.field(repr=False)
    labels: tf.Tensor | None = dataclasses.field(repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        split: str,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
        num_levels: int = 256,
    ) -> "ArraySource":
        """The source of checked arrays. Labels, of any integer dtype, come with
        class_names."""
        # On a machine with GPUs tensors go there by default.
        with tf.device("CPU:0"):
            return cls(
                name=name,
                split=split,
                image_shape=images.shape[1:],
                indices=np.arange(len(images)),
                class_names=class_names,
                num_levels=num_levels,
                images=tf.constant(images),
                labels=None if labels is None else tf.constant(labels.astype(np.int32)),
            )

    def _take(self, indices: tf.Tensor) -> dict[str, tf.Tensor]:
        examples = {"image": tf.gather(self.images, indices)}  # [N, H, W, C]
        if self.labels is not None:
            examples["label"] = tf.gather(self.labels, indices)  # [N]
        return examples
