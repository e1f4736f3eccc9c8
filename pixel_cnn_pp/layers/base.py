"""What all layers have in common: float32, and lists of layers that are saved."""

from collections.abc import Iterable

import keras


class Float32Layer(keras.layers.Layer):
    """A layer in float32, whatever Keras's floatx and global dtype policy are."""

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})


def set_layers(
    owner: keras.layers.Layer, name: str, layers: Iterable[keras.layers.Layer]
) -> None:
    """Sets owner.NAME to a list of layers, and owner.NAME_0, … to each of them.

    tf.train.Checkpoint silently ignores the layers that a Keras layer holds in a list.
    """
    setattr(owner, name, list(layers))
    for index, layer in enumerate(getattr(owner, name)):
        setattr(owner, f"{name}_{index}", layer)
