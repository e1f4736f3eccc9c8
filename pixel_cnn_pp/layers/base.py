"""What all layers have in common: float32, and how they are saved."""

from collections.abc import Iterable

import keras

# Makes a class loadable from files that Keras saved, as pixel_cnn_pp>NAME.
register = keras.saving.register_keras_serializable("pixel_cnn_pp")


class Float32Layer(keras.layers.Layer):
    """A layer in float32, whatever Keras's floatx and global dtype policy are.

    `settings`: names of the arguments that make it, which are its attributes.
    """

    settings: tuple[str, ...] = ()

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})

    def get_config(self):
        own = {name: getattr(self, name) for name in self.settings}
        return super().get_config() | own


class WeightedLayer(Float32Layer):
    """A layer with weights, which Keras saves under their names: V, g, b or hw."""

    def save_own_variables(self, store):
        for weight in self.weights:
            store[weight.name] = weight

    def load_own_variables(self, store):
        for weight in self.weights:
            weight.assign(store[weight.name])


def set_layers(
    owner: keras.layers.Layer, name: str, layers: Iterable[keras.layers.Layer]
) -> None:
    """Sets owner.NAME to a list of layers, and owner.NAME_0, … to each of them.

    tf.train.Checkpoint silently ignores the layers that a Keras layer holds in a list.
    """
    setattr(owner, name, list(layers))
    for index, layer in enumerate(getattr(owner, name)):
        setattr(owner, f"{name}_{index}", layer)
