"""The port returns the numbers of the official code (openai/pixel-cnn)."""

import os

import numpy as np
import pytest
import tensorflow as tf
from golden import LIKELIHOOD, Golden, relative_error, together, worst_error

from pixel_cnn_pp import distribution, openai_checkpoint
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training import run as training
from pixel_cnn_pp.training.optimizer import start_ema
from pixel_cnn_pp.training.state import TrainState
from pixel_cnn_pp.training.step import TrainStep

# By default on the CPU; GOLDEN_ON_GPU=1 takes a GPU, in full float32.
ON_GPU = os.environ.get("GOLDEN_ON_GPU") == "1"
if not ON_GPU:
    tf.config.set_visible_devices([], "GPU")
tf.config.experimental.enable_tensor_float_32_execution(False)

# Of a parameter after initialisation and after five steps: on an H100 2.1e-6 and 3.5e-3
# were measured.
AFTER_INITIALISATION, AFTER_FIVE_STEPS = (4e-6, 1e-2) if ON_GPU else (2e-6, 2e-4)
SEED = (0, 0)


def test_device_is_the_one_that_was_asked_for():
    assert distribution.has_gpu() == ON_GPU


@pytest.fixture(scope="module", params=LIKELIHOOD)
def golden(request):
    return Golden(request.param)


@pytest.fixture(scope="module")
def energy():
    return Golden("energy_distance")


def loss_and_gradients(model, images, labels):
    parameters = list(model.tf_variables().values())
    with tf.GradientTape() as tape:
        losses = model.image_loss(images, labels, seed=SEED)
        loss = tf.reduce_sum(losses)
    return losses, tape.gradient(loss, parameters)


def test_initialisation_pass_gives_the_official_output_and_parameters(golden):
    model = golden.model("params_before_init")
    output = model.initialize(golden.x, golden.labels)
    assert relative_error(output, golden["init_output"]) < 1e-6
    official = golden.tensors(model, "params_after_init")
    for name, ours, theirs in zip(
        model.parameters, model.parameters.values(), official, strict=True
    ):
        # Biases are means of outputs of scale 1 (conv_2 of a block: .1), some of which
        # cancel to 1e-4: their rounding error is that of the outputs.
        scale = max(np.sqrt(np.mean(np.square(theirs))), 0.1)
        error = np.sqrt(np.mean(np.square(ours.numpy() - theirs))) / scale
        assert error < AFTER_INITIALISATION, name


def test_network_output_is_the_official_output(golden):
    output = golden.model()(golden.x, golden.labels)
    np.testing.assert_allclose(output, golden["forward_output"], rtol=1e-4, atol=1e-5)
    assert relative_error(output, golden["forward_output"]) < 1e-6


def test_loss_is_the_official_loss(golden):
    losses = golden.model().image_loss(golden["images"], golden.labels).numpy()
    np.testing.assert_allclose(losses, golden["forward_nll_nats_per_image"], rtol=1e-5)
    total = losses.astype(np.float64).sum()
    assert total == pytest.approx(float(golden["forward_loss_nats_sum"]), rel=1e-6)


def test_gradient_of_every_parameter_is_the_official_gradient(golden):
    model = golden.model()
    _, gradients = loss_and_gradients(model, golden["images"], golden.labels)
    official = golden.tensors(model, "grad")
    # Sums over all pixels that cancel: from one kind of CPU to the next they differ by
    # rounding, up to 2e-4 in a parameter.
    error, name = worst_error(model, gradients, official)
    assert error < 3e-4, name
    assert relative_error(together(gradients), together(official)) < 5e-5


def test_sample_from_the_official_noise_is_the_official_one(golden):
    u = np.concatenate([golden["sample_u_mixture"], golden["sample_u_logistic"]], -1)
    u = 1e-5 + u * (1 - 2e-5)
    drawn = golden.model().objective.sample(golden["forward_output"], u, quantize=False)
    np.testing.assert_allclose(drawn, golden["sample_output"], atol=2e-5)


@pytest.fixture(scope="module")
def official_run(golden):
    """A train state with the golden run's settings, and its step, compiled once: for
    the unconditional model with XLA as by default, for the other without."""
    config = Config.of(
        **golden.model_arguments(),
        jit_compile=None if golden.labels is None else False,
        class_conditional=golden.labels is not None,
        batch_size=4,
        nr_gpu=1,
        polyak_warmup=False,
    )
    strategy = tf.distribute.get_strategy()
    state = TrainState(config, strategy)
    batch = {"image": tf.constant(golden["images"])}
    if golden.labels is not None:
        batch["label"] = tf.constant(golden.labels)
    step = TrainStep(state, config, strategy)
    return state, lambda: float(step(batch).loss)


@pytest.mark.slow
def test_five_steps_give_the_official_parameters_ema_moments_and_losses(
    golden, official_run
):
    state, step = official_run
    for variables in (state.adam.v, state.adam.mg, state.counters):
        for variable in variables.values():
            variable.assign(tf.zeros_like(variable))
    first = golden.tensors(state.model, "params_after_init")
    for variable, value in zip(state.parameters.values(), first, strict=True):
        variable.assign(value)
    start_ema(state.ema_parameters, state.parameters)

    losses = [step() for _ in range(5)]
    np.testing.assert_allclose(losses, golden["train_loss_nats_sum"], rtol=1e-5)

    reader = tf.train.load_checkpoint(golden.checkpoint)
    official = {name: reader.get_tensor(f"model/{name}") for name in state.parameters}
    ours = list(state.parameters.values())
    # Adam divides by the root of tiny moments, which enlarges a rounding error.
    error, name = worst_error(state.model, ours, list(official.values()))
    assert error < AFTER_FIVE_STEPS, name
    averages = [
        reader.get_tensor(f"model/{name}/ExponentialMovingAverage")
        for name in state.parameters
    ]
    ours = list(state.ema_parameters.values())
    assert worst_error(state.model, ours, averages)[0] < 1e-4
    for i, name in enumerate(state.parameters):
        second = reader.get_tensor(f"Variable_{2 * i + 1}")
        assert relative_error(state.adam.mg[name], second) < 1e-3, name
        first_moment = reader.get_tensor(f"Variable_{2 * i + 2}")
        assert relative_error(state.adam.v[name], first_moment) < 1e-3, name

    after = state.model.image_loss(golden["images"], golden.labels)
    assert float(tf.reduce_sum(after)) == pytest.approx(
        float(golden["train_final_loss"]), rel=1e-5
    )
    after = state.ema_model.image_loss(golden["images"], golden.labels)
    assert float(tf.reduce_sum(after)) == pytest.approx(
        float(golden["train_final_loss_ema"]), rel=1e-5
    )


@pytest.mark.slow
def test_step_from_the_official_checkpoint_gives_the_official_next_parameters(
    golden, official_run
):
    state, step = official_run
    training.initialize_from_official(state, golden.checkpoint)
    assert state.count("step") == 5
    step()
    official = golden.tensors(state.model, "next_step")
    ours = list(state.parameters.values())
    assert worst_error(state.model, ours, official)[0] < 1e-5
    # The step itself, which is small beside the parameters. Its learning rate is that
    # of step 6, the official one that of step 1: they differ by 2.5e-5.
    reader = tf.train.load_checkpoint(golden.checkpoint)
    before = [reader.get_tensor(f"model/{name}") for name in state.parameters]
    steps = [a.numpy() - b for a, b in zip(ours, before, strict=True)]
    official = [a - b for a, b in zip(official, before, strict=True)]
    assert worst_error(state.model, steps, official)[0] < 1e-2


def test_official_checkpoint_tells_its_size_and_gives_its_parameters(golden):
    nonlinearity = golden.config["resnet_nonlinearity"]
    found = openai_checkpoint.infer(golden.checkpoint, nonlinearity)
    wanted = golden.model_arguments()
    assert found == {name: wanted[name] for name in found}
    model = golden.model("params_before_init")
    for averaged, loss in ((True, "train_final_loss_ema"), (False, "train_final_loss")):
        openai_checkpoint.load(model, golden.checkpoint, averaged)
        total = tf.reduce_sum(model.image_loss(golden["images"], golden.labels))
        assert float(total) == pytest.approx(float(golden[loss]), rel=1e-6)


def with_official_noise(model, golden):
    model.energy_noise = lambda shape, seed: tf.constant(2 * golden["noise_u"] - 1)
    return model


def test_energy_distance_model_initialises_as_the_official_one(energy):
    model = with_official_noise(energy.model("params_before_init"), energy)
    model.initialize(energy.x)
    official = energy.tensors(model, "params_after_init")
    error, name = worst_error(model, list(model.parameters.values()), official)
    assert error < 1e-4, name


def test_energy_distance_samples_loss_and_gradients_are_the_official_ones(energy):
    model = with_official_noise(energy.model(), energy)
    samples = model(energy.x, seed=SEED)
    assert relative_error(samples, energy["forward_samples"]) < 1e-4
    losses, gradients = loss_and_gradients(model, energy["images"], None)
    total = float(tf.reduce_sum(losses))
    assert total == pytest.approx(float(energy["forward_loss_sum"]), rel=1e-5)
    error, name = worst_error(model, gradients, energy.tensors(model, "grad"))
    assert error < 1e-4, name
