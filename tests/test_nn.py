"""Layers against hand arithmetic and float64 NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from xla_kernels import kernels_of_xla

from pixel_cnn_pp import prng
from pixel_cnn_pp.layers import activations, blocks, convolution, fusion


def built(layer, in_channels, V=None, g=None, b=None):
    layer.build((None, None, None, in_channels))
    for name, value in (("V", V), ("g", g), ("b", b)):
        if value is not None:
            getattr(layer, name).assign(value)
    return layer


def test_dense_with_v_3_4_and_g_10_maps_1_1_to_14():
    # V / ‖V‖ = (.6, .8); g makes it (6, 8); the bias adds nothing.
    layer = built(convolution.Dense(1), 2, V=[[3.0], [4.0]], g=[10.0])
    assert layer(tf.ones([1, 1, 1, 2])).numpy().item() == pytest.approx(14.0)


@pytest.mark.parametrize(
    "conv", [convolution.DownShiftedConv2D, convolution.DownShiftedDeconv2D]
)
def test_kernel_has_norm_g_for_each_output_unit(conv):
    layer = built(conv(5, filter_size=(2, 3)), 4, g=np.arange(1.0, 6.0))
    axes = tuple(i for i in range(4) if i != layer.unit_axis % 4)
    norms = np.sqrt(np.sum(np.square(layer.kernel().numpy()), axis=axes))
    np.testing.assert_allclose(norms, np.arange(1.0, 6.0), rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        convolution.Dense(6, init_scale=0.1),
        convolution.DownShiftedConv2D(6, init_scale=0.1),
        convolution.DownRightShiftedConv2D(6, filter_size=(2, 2), strides=(2, 2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_initialisation_gives_mean_0_and_deviation_init_scale(layer):
    x = np.random.default_rng(0).normal(3.0, 2.0, (4, 8, 8, 3)).astype(np.float32)
    y = built(layer, 3).initialize(tf.constant(x)).numpy()
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), layer.init_scale, rtol=1e-3)
    np.testing.assert_array_equal(layer(tf.constant(x)), y)


def test_unit_that_does_not_vary_keeps_its_scale_and_loses_its_mean():
    layer = built(convolution.Dense(2), 2, V=[[1.0, 0.0], [0.0, 1.0]])
    layer.b.assign([7.0, 0.0])
    x = tf.constant([[[[0.0, 1.0], [0.0, 3.0]]]])
    np.testing.assert_allclose(layer.initialize(x)[0, 0], [[0, -1], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(layer.g, [1.0, 1.0])
    np.testing.assert_allclose(layer.b, [0.0, -2.0], atol=1e-6)


def test_deconv_moments_are_those_before_the_crop():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    layer = built(convolution.DownShiftedDeconv2D(5, strides=(2, 2)), 3)
    layer.initialize(tf.constant(x))
    whole = layer.output(tf.constant(x)).numpy()
    assert whole.shape == (2, 9, 10, 5)
    np.testing.assert_allclose(whole.mean((0, 1, 2)), 0.0, atol=1e-6)
    np.testing.assert_allclose(whole.std((0, 1, 2)), 1.0, rtol=1e-3)


def numpy_conv(x, kernel, top, left, right, stride):
    """Padded VALID convolution, position by position, in float64."""
    x = np.pad(x.astype(np.float64), [(0, 0), (top, 0), (left, right), (0, 0)])
    rows, columns = kernel.shape[:2]
    height = (x.shape[1] - rows) // stride + 1
    width = (x.shape[2] - columns) // stride + 1
    y = np.zeros((len(x), height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = x[
                :, i * stride : i * stride + rows, j * stride : j * stride + columns
            ]
            y[:, i, j] = np.einsum("nhwc,hwcf->nf", window, kernel)
    return y


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "conv, size, margins",
    [
        (convolution.DownShiftedConv2D, (2, 3), (1, 1, 1)),
        (convolution.DownShiftedConv2D, (1, 3), (0, 1, 1)),
        (convolution.DownRightShiftedConv2D, (2, 2), (1, 1, 0)),
        (convolution.DownRightShiftedConv2D, (2, 1), (1, 0, 0)),
    ],
)
def test_shifted_conv_pads_above_and_beside_and_convolves(conv, size, margins, stride):
    x = np.random.default_rng(1).normal(size=(2, 6, 8, 3)).astype(np.float32)
    layer = built(conv(4, filter_size=size, strides=(stride, stride)), 3)
    expected = numpy_conv(x, layer.kernel().numpy(), *margins, stride)
    np.testing.assert_allclose(layer(tf.constant(x)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "deconv, size, left",
    [
        (convolution.DownShiftedDeconv2D, (2, 3), 1),
        (convolution.DownRightShiftedDeconv2D, (2, 2), 0),
    ],
)
def test_shifted_deconv_spreads_each_input_and_crops_to_twice_the_size(
    deconv, size, left
):
    x = np.random.default_rng(2).normal(size=(2, 3, 4, 5)).astype(np.float32)
    layer = built(deconv(6, filter_size=size, strides=(2, 2)), 5)
    kernel = layer.kernel().numpy().astype(np.float64)  # [h, w, out, in]
    whole = np.zeros((2, 6 + size[0] - 1, 8 + size[1] - 1, 6))
    for i in range(3):
        for j in range(4):
            spread = np.einsum("nc,hwfc->nhwf", x[:, i, j], kernel)
            whole[:, 2 * i : 2 * i + size[0], 2 * j : 2 * j + size[1]] += spread
    expected = whole[:, :6, left : left + 8]
    np.testing.assert_allclose(layer(tf.constant(x)), expected, atol=1e-5)


def test_down_shift_and_right_shift_bring_in_zeros():
    x = tf.reshape(tf.range(1.0, 7.0), [1, 2, 3, 1])
    assert convolution.down_shift(x).numpy().ravel().tolist() == [0, 0, 0, 1, 2, 3]
    assert convolution.right_shift(x).numpy().ravel().tolist() == [0, 1, 2, 0, 4, 5]


def test_concat_elu_of_1_and_minus_1():
    y = activations.activate(tf.constant([1.0, -1.0]), "concat_elu").numpy()
    np.testing.assert_allclose(y, [1, np.expm1(-1), np.expm1(-1), 1], rtol=1e-6)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_dropout_zeroes_a_share_p_and_keeps_the_mean(p):
    ones, seed = tf.ones([100, 1000]), tf.constant([1, 2])
    y = activations.activate_and_drop(ones, "relu", p, seed).numpy()
    assert np.mean(y == 0) == pytest.approx(p, abs=0.01)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-6)


def test_dropout_mask_follows_from_the_seed_alone_with_and_without_xla():
    def drop(seed):
        return activations.activate_and_drop(tf.ones([999]), "elu", 0.5, seed)

    plain, with_xla = (tf.function(drop, jit_compile=jit) for jit in (False, True))
    one = plain(tf.constant([1, 2])).numpy()
    np.testing.assert_array_equal(one, plain(tf.constant([1, 2])))
    np.testing.assert_array_equal(one, with_xla(tf.constant([1, 2])))
    assert np.mean(one == plain(tf.constant([1, 3]))) < 0.6


def test_gradient_is_fused_where_the_forward_pass_was_whenever_it_is_asked_for():
    x = tf.ones([2, 3, 4, 7])  # A shape of its own: nothing was traced for it.

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            with fusion.fusing(True):
                y = activations.activate(x, "elu")
        return tape.gradient(y, x)

    graph = gradient.get_concrete_function(x).graph
    fused = kernels_of_xla(graph.as_graph_def())
    assert any("_forward" in name for name in fused)
    assert any("_backward" in name for name in fused)


def test_mask_knows_the_shape_of_a_batch_of_unknown_size():
    @tf.function(input_signature=[tf.TensorSpec([None, 1, 1, 4])], autograph=False)
    def drop(x):
        seed = tf.constant([1, 2])
        y = activations.activate_and_drop(x, "concat_elu", 0.5, seed, (1, 1, 0))
        assert y.shape.as_list() == [None, 2, 2, 8]
        return y

    assert drop(tf.ones([3, 1, 1, 4])).shape == [3, 2, 2, 8]


@pytest.mark.parametrize("name", activations.NONLINEARITIES)
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16], ids=lambda t: t.name)
def test_fused_activations_and_gates_are_the_plain_ones_gradients_too(name, dtype):
    rng = np.random.default_rng(4)
    x = tf.constant(rng.normal(size=(2, 5, 6, 4)), dtype)
    ab = tf.constant(rng.normal(size=(2, 5, 6, 8)), dtype)
    seed = tf.constant([1, 2])

    def work(x, ab):
        with tf.GradientTape() as tape:
            tape.watch([x, ab])
            y = activations.activate(x, name, (1, 2, 1))
            dropped = activations.activate_and_drop(x, name, 0.3, seed, (1, 0, 1))
            gated = activations.add_gated(tf.cast(x, tf.float32), ab)
            parts = (y, dropped, gated)
            weights = (tf.reshape(tf.range(tf.size(p)) % 7, p.shape) for p in parts)
            loss = sum(
                tf.reduce_sum(tf.cast(w, tf.float32) * tf.cast(p, tf.float32))
                for w, p in zip(weights, parts, strict=True)
            )
        return *parts, *tape.gradient(loss, (x, ab))

    def run(fuses):
        @tf.function(autograph=False)
        def within(x, ab):
            with fusion.fusing(fuses):
                return work(x, ab)

        graph = within.get_concrete_function(x, ab).graph
        assert bool(kernels_of_xla(graph.as_graph_def())) == fuses
        return within(x, ab)

    rounding = 1e-5 if dtype == tf.float32 else 2e-2
    for fused, plain, eager in zip(run(True), run(False), work(x, ab), strict=True):
        assert fused.dtype == plain.dtype
        for found in (fused, eager):
            found, expected = (tf.cast(t, tf.float32).numpy() for t in (found, plain))
            error = np.linalg.norm(found - expected)
            assert error <= rounding * np.linalg.norm(expected)


@pytest.mark.parametrize("jit", [False, True])
def test_random_bits_are_those_of_the_stateless_philox_of_tensorflow(jit):
    bits = tf.function(prng.bits, jit_compile=jit)
    for shape in ([1], [3, 5], [1001]):
        for seed in ((0, 0), (1, 2), (-5, 7), (2**31 - 1, -(2**31))):
            seed = tf.constant(seed)
            expected = tf.random.stateless_uniform(
                shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
            )
            np.testing.assert_array_equal(bits(shape, seed), expected)


@pytest.mark.parametrize("nonlinearity", ["concat_elu", "elu", "relu"])
def test_gated_resnet_is_x_plus_a_times_sigmoid_of_b(nonlinearity):
    rng = np.random.default_rng(3)
    make = convolution.LayerFactory(0)
    block = blocks.GatedResnet(
        "ul", (2, 2), 4, nonlinearity, 8, num_labels=3, make=make
    )
    for layer in make.layers:
        for weight in layer.weights:
            weight.assign(rng.normal(size=weight.shape))
    x = rng.normal(size=(2, 5, 6, 4)).astype(np.float32)
    a = rng.normal(size=(2, 5, 6, 8)).astype(np.float32)
    h = np.eye(3)[[2, 0]].astype(np.float32)

    elu = {
        "concat_elu": lambda x: np.concatenate([f_elu(x), f_elu(-x)], -1),
        "elu": lambda x: f_elu(x),
        "relu": lambda x: np.maximum(x, 0),
    }[nonlinearity]
    c1 = numpy_conv(elu(x), block.conv_1.kernel().numpy(), 1, 1, 0, 1) + block.conv_1.b
    c1 = c1 + elu(a) @ block.nin.kernel().numpy() + block.nin.b
    c2 = numpy_conv(elu(c1), block.conv_2.kernel().numpy(), 1, 1, 0, 1) + block.conv_2.b
    c2 = c2 + (h @ block.conditional.hw.numpy())[:, None, None]
    expected = x + c2[..., :4] / (1 + np.exp(-c2[..., 4:]))
    np.testing.assert_allclose(block(x, a, h), expected, atol=1e-4)


def f_elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def test_gated_resnet_names_its_layers_as_the_official_code_does():
    make = convolution.LayerFactory(0)
    for _ in range(2):
        blocks.GatedResnet("u", (2, 3), 4, "elu", 4, num_labels=3, make=make)
    assert [layer.name for layer in make.layers] == [
        "conv2d_0",
        "dense_0",
        "conv2d_1",
        "conditional_weights_0",
        "conv2d_2",
        "dense_1",
        "conv2d_3",
        "conditional_weights_1",
    ]


def test_layers_have_different_initial_weights_of_deviation_005():
    make = convolution.LayerFactory(7)
    first, second = (make(convolution.Dense, 100, 200) for _ in range(2))
    assert np.std(first.V) == pytest.approx(0.05, rel=0.02)
    assert not np.allclose(first.V, second.V)
    np.testing.assert_array_equal(
        first.V, convolution.LayerFactory(7)(convolution.Dense, 100, 200).V
    )


def test_layers_are_made_again_from_their_config():
    layer = convolution.DownShiftedConv2D(
        5, filter_size=(1, 3), strides=(2, 2), init_scale=0.1
    )
    again = convolution.DownShiftedConv2D.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert isinstance(again, keras.layers.Layer)
