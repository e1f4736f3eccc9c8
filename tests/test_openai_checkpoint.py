"""Official checkpoints that do not fit are rejected with all that is wrong."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from golden import Golden

from pixel_cnn_pp import PixelCNNPP, openai_checkpoint
from pixel_cnn_pp.training.optimizer import Adam


@pytest.fixture(scope="module")
def golden():
    return Golden("unconditional")


def write_v1(prefix, arrays):
    """A TF1 checkpoint of these arrays."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in arrays.items():
            tf.compat.v1.get_variable(name, initializer=tf.constant(value))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(prefix), write_meta_graph=False)


def contents(prefix):
    reader = tf.train.load_checkpoint(prefix)
    return {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}


def test_misfit_lists_what_is_missing_and_what_is_left_over(golden):
    arguments = golden.model_arguments() | {"num_labels": 3, "nr_filters": 8}
    with pytest.raises(ValueError) as error:
        openai_checkpoint.load(PixelCNNPP(**arguments), golden.checkpoint)
    assert "missing: conditional_weights_0/hw" in str(error.value)
    assert "unknown: nothing" in str(error.value)
    arguments |= {"num_labels": None, "nr_filters": 9}
    with pytest.raises(
        ValueError, match=r"conv2d_0/V \[2, 3, 4, 8\] for \[2, 3, 4, 9\]"
    ):
        openai_checkpoint.load(PixelCNNPP(**arguments), golden.checkpoint)


@pytest.mark.parametrize("kept", [0, 10])
def test_truncated_checkpoint_says_so(kept, golden, tmp_path):
    for path in pathlib.Path(golden.checkpoint).parent.glob("unconditional.ckpt.*"):
        shutil.copy(path, tmp_path)
    prefix = tmp_path / pathlib.Path(golden.checkpoint).name
    (data,) = tmp_path.glob("*.data-*")
    data.write_bytes(data.read_bytes()[:kept])
    with pytest.raises(ValueError, match="is damaged .*; copy it again") as error:
        openai_checkpoint.build_model(prefix)
    assert str(error.value).startswith(f"--official_checkpoint={prefix}: ")
    adam = Adam(golden.model().tf_variables())
    with pytest.raises(ValueError, match="is damaged"):
        openai_checkpoint.load_adam(adam.v, adam.mg, prefix)


def test_checkpoint_without_ema_says_so(golden, tmp_path):
    arrays = contents(golden.checkpoint)
    raw = {n: v for n, v in arrays.items() if "ExponentialMovingAverage" not in n}
    write_v1(tmp_path / "raw.ckpt", raw)
    model = golden.model()
    with pytest.raises(ValueError, match="missing: conv2d_0/V"):
        openai_checkpoint.load(model, tmp_path / "raw.ckpt")
    openai_checkpoint.load(model, tmp_path / "raw.ckpt", averaged=False)
    np.testing.assert_array_equal(
        model.parameters["conv2d_0/V"], arrays["model/conv2d_0/V"]
    )


def test_checkpoint_without_the_state_of_adam_says_so(golden, tmp_path):
    arrays = contents(golden.checkpoint)
    write_v1(tmp_path / "bare.ckpt", {n: v for n, v in arrays.items() if "model/" in n})
    adam = Adam(golden.model().tf_variables())
    with pytest.raises(ValueError, match="missing: Variable, Variable_1"):
        openai_checkpoint.load_adam(adam.v, adam.mg, tmp_path / "bare.ckpt")


@pytest.mark.slow
def test_energy_distance_shows_in_the_shapes(tmp_path):
    model = Golden("energy_distance").model()
    write_v1(
        tmp_path / "energy.ckpt",
        {f"model/{name}": p.numpy() for name, p in model.parameters.items()},
    )
    found = openai_checkpoint.infer(tmp_path / "energy.ckpt")
    assert found["energy_distance"] and found["nr_resnet"] == 1
    openai_checkpoint.load(
        PixelCNNPP((8, 8, 3), **found), tmp_path / "energy.ckpt", False
    )


@pytest.mark.parametrize("nonlinearity", ["elu", "relu"])
def test_concat_elu_shows_in_the_shapes_and_another_is_rejected(golden, nonlinearity):
    assert (
        openai_checkpoint.infer(golden.checkpoint)["resnet_nonlinearity"]
        == "concat_elu"
    )
    with pytest.raises(ValueError, match=f"--resnet_nonlinearity={nonlinearity}"):
        openai_checkpoint.infer(golden.checkpoint, nonlinearity)


@pytest.mark.parametrize("nonlinearity", [None, "concat_elu"])
def test_elu_and_relu_do_not_show_and_must_be_given(nonlinearity):
    prefix = Golden("class_conditional_elu").checkpoint
    with pytest.raises(ValueError, match="give elu or relu"):
        openai_checkpoint.infer(prefix, nonlinearity)
    assert openai_checkpoint.infer(prefix, "relu")["resnet_nonlinearity"] == "relu"


def test_no_checkpoint_and_another_network_are_rejected_by_name(tmp_path):
    with pytest.raises(ValueError, match="nothing.ckpt: no readable TF1 checkpoint"):
        openai_checkpoint.infer(tmp_path / "nothing.ckpt")
    write_v1(tmp_path / "other.ckpt", {"w": np.zeros((2, 2), np.float32)})
    with pytest.raises(ValueError, match="other.ckpt: not a PixelCNN"):
        openai_checkpoint.infer(tmp_path / "other.ckpt")
