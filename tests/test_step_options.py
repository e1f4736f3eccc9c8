"""Options of the step that save time or memory: the step stays what it was."""

import gc
import weakref
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from small_runs import SMALL, arrays, random_batch, steps_on
from tensorflow.python.framework.func_graph import FuncGraph
from xla_kernels import kernels_of_xla

from pixel_cnn_pp import PixelCNNPP
from pixel_cnn_pp.config import PRECISIONS, Config
from pixel_cnn_pp.layers.weight_norm import kernels_of, weight_norm

# The smallest network; its step is compiled the way the options say.
FIELD = {"field": "11x5"}


@pytest.fixture(scope="module")
def plain_step():
    """The state after three steps on 16 images, and the losses, by dropout_p."""
    return {p: steps_on(1, 16, p, random_batch(16), **FIELD) for p in (0.0, 0.5)}


def assert_same_step(ours, plain, rtol=2e-4):
    (state, losses), (plain_state, plain_losses) = ours, plain
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-5)
    for group in ("parameters", "averages", "adam_v", "adam_mg"):
        found, expected = (arrays(s.groups()[group]) for s in (state, plain_state))
        for name in expected:
            error = np.linalg.norm(found[name] - expected[name])
            limit = rtol * np.linalg.norm(expected[name]) + 1e-7
            assert error <= limit, (group, name)


@pytest.mark.slow
def test_four_batches_of_4_accumulated_make_the_update_of_one_of_16(plain_step):
    ours = steps_on(1, 4, 0.0, random_batch(16), accumulate=4, **FIELD)
    assert_same_step(ours, plain_step[0.0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "option, rtol",
    [
        ({"remat": True}, 2e-4),
        # XLA sums in another order, and Adam's first steps enlarge the difference.
        ({"jit_compile": True}, 2e-3),
        ({"jit_compile": False}, 2e-4),
    ],
    ids=str,
)
def test_step_with_dropout_is_the_same_with(option, rtol, plain_step):
    ours = steps_on(1, 16, 0.5, random_batch(16), **FIELD, **option)
    assert_same_step(ours, plain_step[0.5], rtol)


@pytest.mark.slow
def test_same_seed_repeats_steps_with_dropout(plain_step):
    state, losses = plain_step[0.5]
    again, same = steps_on(1, 16, 0.5, random_batch(16), **FIELD)
    assert losses == same
    for name, value in arrays(state.parameters).items():
        np.testing.assert_array_equal(value, again.parameters[name])


def training_gradients(model, images, labels=None):
    with tf.GradientTape() as tape:
        losses = model.image_loss(images, labels, training=True, seed=(1, 2))
    return tape.gradient(losses, list(model.tf_variables().values()))


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_remat_runs_gated_resnets_twice_for_the_same_gradients(precision, monkeypatch):
    model = PixelCNNPP(image_shape=(8, 8, 3), nr_filters=8, num_labels=3, **FIELD)
    model.set_precision(precision)
    images, labels = random_batch(3), np.array([0, 2, 1])
    runs = Counter()
    run_block = model.run_block

    def count(index, *arguments):
        runs[index] += 1
        return run_block(index, *arguments)

    monkeypatch.setattr(model, "run_block", count)

    def in_a_graph():
        graph = tf.function(
            lambda: training_gradients(model, images, labels), autograph=False
        )
        return graph()

    plain = in_a_graph()
    model.remat = True
    runs.clear()
    ours = in_a_graph()
    for index, block in enumerate(model.topology):
        assert runs[index] == (2 if block.kind == "gated_resnet" else 1)
    for gradient, expected in zip(ours, plain, strict=True):
        error = np.linalg.norm(gradient - expected)
        limit = 1e-3 if precision == "float32" else 3e-2
        assert error <= limit * np.linalg.norm(expected)


@pytest.mark.slow
def test_remat_runs_convs_again_in_a_network_that_xla_compiles():
    model = PixelCNNPP(image_shape=(4, 4, 1), nr_filters=4, **FIELD)
    images = tf.zeros([1, 4, 4, 1], tf.uint8)

    def convs(remat):
        model.remat = remat
        compiled = tf.function(
            lambda: training_gradients(model, images), jit_compile=True, autograph=False
        )
        optimized = compiled.experimental_get_compiler_ir()(stage="optimized_hlo")
        # A 1×1 conv is a product of matrices.
        return optimized.count(" convolution(") + optimized.count(" dot(")

    gated_resnets = sum(block.kind == "gated_resnet" for block in model.topology)
    assert convs(True) - convs(False) >= 2 * gated_resnets


@pytest.mark.slow
def test_step_is_the_same_under_a_strategy_of_one_device(plain_step):
    # That of one worker alone has variables of the same kind.
    one_device = tf.distribute.MirroredStrategy(
        ["/cpu:0"], tf.distribute.ReductionToOneDevice()
    )
    ours = steps_on(1, 16, 0.5, random_batch(16), strategy=one_device, **FIELD)
    assert_same_step(ours, plain_step[0.5])


@pytest.mark.slow
def test_mixed_bfloat16_has_float32_parameters_and_nearly_the_same_losses(plain_step):
    precision = "mixed_bfloat16"
    state, losses = steps_on(1, 16, 0.5, random_batch(16), precision=precision, **FIELD)
    _, plain_losses = plain_step[0.5]
    assert {p.dtype for p in state.parameters.values()} == {tf.float32}
    assert losses != plain_losses  # It did run in another precision.
    np.testing.assert_allclose(losses, plain_losses, rtol=2e-2)


def test_log_prob_in_mixed_bfloat16_is_float32_and_close():
    model = PixelCNNPP(image_shape=(8, 8, 3), nr_filters=8, **FIELD)
    images = random_batch(4)
    exact = model.log_prob(images)
    model.set_precision("mixed_bfloat16")
    rounded = model.log_prob(images)
    assert rounded.dtype == tf.float32
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, rtol=2e-3)
    model.set_precision("float32")
    np.testing.assert_array_equal(model.log_prob(images), exact)


@pytest.mark.slow
def test_log_prob_is_the_same_with_fusion_and_has_kernels_of_xla(with_xla):
    model = PixelCNNPP(image_shape=(8, 8, 3), nr_filters=8, **FIELD)
    images = random_batch(4)

    def compiled_by_xla():
        graph = model._compiled_log_prob.get_concrete_function(images, None).graph
        return bool(kernels_of_xla(graph.as_graph_def()))

    def scores():
        each = [model.log_prob(images[:n]) for n in (4, 3, 1)]
        return [*each, model.log_prob_per_pixel(images)]

    plain = scores()
    assert not compiled_by_xla()
    sampler = model.sampler
    model.set_jit_compile(True)
    assert model.sampler is sampler  # What it has compiled is of use still.
    fused = scores()
    assert compiled_by_xla()
    for found, expected in zip(fused, plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_unknown_precision_is_rejected():
    with pytest.raises(ValueError, match="precision=half: must be one of float32"):
        PixelCNNPP(image_shape=(8, 8, 3), nr_resnet=1, nr_filters=4).set_precision(
            "half"
        )
    with pytest.raises(ValueError, match="--precision=half: must be one of float32"):
        Config.of(**SMALL, precision="half")


@pytest.mark.parametrize("unit_axis", [-1, -2])
def test_gradient_of_the_weight_norm_is_what_differentiation_makes_of_it(unit_axis):
    rng = np.random.default_rng(0)
    V = tf.constant(rng.normal(size=(3, 2, 4, 5)), tf.float32)  # Three layers.
    g = tf.constant(rng.normal(size=(3, V.shape[unit_axis])), tf.float32)
    weights = tf.constant(rng.normal(size=V.shape), tf.float32)
    others = [1, 2] if unit_axis == -1 else [1, 3]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([V, g])
        kernels = weight_norm(V, g, unit_axis=unit_axis)
        ours = tf.reduce_sum(weights * kernels)
        norm = tf.sqrt(tf.reduce_sum(V**2, others, keepdims=True))
        plain = tf.reduce_sum(weights * tf.reshape(g, norm.shape) * V / norm)
    for x in (V, g):
        np.testing.assert_allclose(
            tape.gradient(ours, x), tape.gradient(plain, x), rtol=1e-4, atol=1e-5
        )


def test_kernels_computed_at_once_are_those_of_the_layers():
    model = PixelCNNPP(image_shape=(8, 8, 3), nr_filters=4, nr_resnet=1)
    for layer in model.linear_layers:
        layer.g.assign(np.random.default_rng(0).uniform(0.5, 2, layer.units))
    together = kernels_of(model.linear_layers)
    for layer in model.linear_layers:
        np.testing.assert_allclose(together[layer.name], layer.kernel(), rtol=1e-6)


@pytest.mark.slow
def test_weight_norms_of_layers_of_one_shape_are_one_operation():
    model = PixelCNNPP(image_shape=(8, 8, 3), nr_filters=4, nr_resnet=5)
    forward = tf.function(model, autograph=False)
    graph = forward.get_concrete_function(tf.zeros([1, 8, 8, 3])).graph
    operations = Counter(node.op for node in graph.as_graph_def().node)
    shapes = {(layer.V.shape, layer.unit_axis) for layer in model.linear_layers}
    assert len(shapes) < len(model.linear_layers) / 10
    assert operations["Unpack"] == len(shapes)


@pytest.mark.slow
def test_graph_of_a_step_goes_with_its_run(plain_step, monkeypatch):
    # The steps before have made the graphs that all runs share.
    made, init = weakref.WeakSet(), FuncGraph.__init__

    def record(graph, *args, **kwargs):
        init(graph, *args, **kwargs)
        made.add(graph)

    monkeypatch.setattr(FuncGraph, "__init__", record)
    steps = steps_on(1, 16, 0.5, random_batch(16), steps=1, **FIELD)
    assert any(graph.name == "step" for graph in made)
    del steps
    gc.collect()
    assert not made
