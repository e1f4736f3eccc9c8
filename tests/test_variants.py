"""Every variant of the model from its training to its SavedModel."""

import numpy as np
import pytest
import small_runs
import tensorflow as tf

from pixel_cnn_pp import checkpoint, export
from pixel_cnn_pp.evaluation import checks, evaluator
from pixel_cnn_pp.likelihood import EnergyDistance

pytestmark = pytest.mark.slow

SMALL = {"nr_filters": 2, "num_levels": 16, "jit_compile": False}
VARIANTS = [
    {"likelihood": "mix_logistic_continuous", "field": "11x5", "nin_blocks": 1},
    {
        "likelihood": "softmax",
        "field": "15x8",
        "autoregressive_channels": True,
        "num_labels": 3,
    },
    {"energy_distance": True, "field": None, "short_cuts": False},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v)))
def test_variant_trains_samples_completes_scores_and_is_exported(
    variant, npz_path, tmp_path, monkeypatch
):
    # Building the graph of the distances of ten samples, of each to each, takes long.
    monkeypatch.setattr(EnergyDistance, "num_samples", 2)
    small_runs.run(npz_path, tmp_path / "run", max_steps=2, **SMALL, **variant)
    model, config = checkpoint.load_model(str(tmp_path / "run"))
    assert model.config == config.model
    labels = np.array([0, 2]) if model.num_labels else None
    drawn = model.sample(2, labels, seed=(3, 4)).numpy()
    completed = model.complete(drawn, 5, labels, seed=(5, 6)).numpy()
    np.testing.assert_array_equal(completed[:, :5], drawn[:, :5])

    export.export(model, str(tmp_path / "served"))
    served = tf.saved_model.load(str(tmp_path / "served")).signatures
    how = {"seed": tf.constant([3, 4]), "temperature": tf.constant(1.0)}
    of = {"num_images": tf.constant(2)}
    if labels is not None:
        of = {"labels": tf.constant(labels, tf.int32)}
    np.testing.assert_array_equal(served["sample"](**how, **of)["images"], drawn)
    if variant.get("energy_distance"):
        assert sorted(served) == ["complete", "sample", "serving_default"]
        how["temperature"] = tf.constant(0.5)
        with pytest.raises(tf.errors.InvalidArgumentError, match="temperature must be"):
            served["sample"](**how, **of)
        with pytest.raises(ValueError, match="has no likelihood"):
            checks.check_likelihood(model, None)
        return
    nats = model.log_prob(drawn, labels).numpy()
    of = {} if labels is None else of
    ours = served["log_prob"](images=tf.constant(drawn), **of)
    np.testing.assert_allclose(ours["log_prob"], nats, rtol=1e-5)
    bits = evaluator.bits_per_dim(-nats, model.image_shape)
    np.testing.assert_allclose(ours["bits_per_dim"], bits, rtol=1e-5)
