"""Each layer as Keras saves it, alone and in a functional model."""

import functools

import keras
import numpy as np
import pytest
from keras import Input

from pixel_cnn_pp.layers import base, blocks, convolution, heads

SIZE = (6, 8)
F = 4  # Channels of every input but those named otherwise.
CONVS = [layer for stream in convolution.CONVS.values() for layer in stream]
# Each layer, made with other settings than its defaults, and the shapes of its inputs.
LAYERS = {
    "Dense": (lambda: convolution.Dense(5, init_scale=0.1), [(*SIZE, F)]),
    **{
        layer.__name__: (functools.partial(layer, 5, (2, 3), (2, 2)), [(*SIZE, F)])
        for layer in (convolution.Conv2D, convolution.Deconv2D, *CONVS)
    },
    "ConditionalWeights": (lambda: convolution.ConditionalWeights(6), [(3,)]),
    "ShiftedInput": (lambda: blocks.ShiftedInput("ul", (2, 2), 5, F), [(*SIZE, F)]),
    "GatedResnet": (
        lambda: blocks.GatedResnet("u", (2, 3), F, "elu", 8, 3, 0.5, seed=2),
        [(*SIZE, F), (*SIZE, 8), (3,)],
    ),
    "ParametersHead": (lambda: heads.ParametersHead(F, 7), [(*SIZE, F)]),
    "ChannelsHead": (
        lambda: heads.ChannelsHead(F, [1, 0, 1, 0], "relu"),
        [(*SIZE, F), (*SIZE, 2)],
    ),
    "EnergyHead": (lambda: heads.EnergyHead(F, 2), [(*SIZE, F), (*SIZE, 4)]),
}


def random_inputs(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, *shape)).astype(np.float32) for shape in shapes]


def test_every_layer_that_can_be_made_is_tested():
    subclasses, found = [base.Float32Layer], set()
    while subclasses:
        layer = subclasses.pop()
        subclasses += layer.__subclasses__()
        if keras.saving.get_registered_name(layer) == f"pixel_cnn_pp>{layer.__name__}":
            found.add(layer.__name__)
    assert found == LAYERS.keys()


@pytest.mark.parametrize("name", LAYERS)
def test_layer_comes_back_from_a_functional_model_that_was_saved(name, tmp_path):
    make, shapes = LAYERS[name]
    layer, inputs = make(), [Input(shape) for shape in shapes]
    model = keras.Model(inputs, layer(*inputs))
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    twin = again.get_layer(layer.name)
    assert type(twin) is type(layer)
    assert twin.get_config() == layer.get_config()
    x = random_inputs(shapes)
    assert model.output_shape[-1] == model(x).shape[-1]
    np.testing.assert_array_equal(again(x), model(x))
    np.testing.assert_array_equal(again(x), layer(*x))


@pytest.mark.parametrize("name", LAYERS)
def test_layer_of_the_same_config_has_the_same_initial_weights(name):
    make, shapes = LAYERS[name]
    layer = make()
    twin = type(layer).from_config(layer.get_config())
    x = random_inputs(shapes)
    np.testing.assert_array_equal(twin(*x), layer(*x))


def causal_model():
    """A network of one's own, of these layers: nothing but Keras around them."""
    x = Input((*SIZE, 1))
    u = blocks.ShiftedInput("u", (2, 3), F, 1)(x)
    ul = blocks.ShiftedInput("ul", (2, 2), F, 1)(x)
    u = blocks.GatedResnet("u", (2, 3), F, dropout_p=0.5)(u)
    ul = blocks.GatedResnet("ul", (2, 2), F, skip_channels=F, dropout_p=0.5)(ul, u)
    return keras.Model(x, heads.ParametersHead(F, 1)(ul))


@pytest.mark.slow
def test_functional_model_trains_with_dropout_and_comes_back(tmp_path):
    model = causal_model()
    (x,) = random_inputs([(*SIZE, 1)])
    assert (model(x, training=True).numpy() != model(x, training=True).numpy()).any()
    np.testing.assert_array_equal(model(x), model(x))
    model.compile("adam", "mse")
    history = model.fit(x, x, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again(x), model(x))
