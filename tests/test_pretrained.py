"""The pretrained model of the repository: its weights, its classes, its samples."""

import numpy as np
import pytest
from command_lines import run
from conftest import ROOT

from pixel_cnn_pp import checkpoint

FOLDER = ROOT / "pretrained" / "fashion_mnist"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@pytest.fixture(scope="module")
def model():
    return checkpoint.load_model(str(FOLDER))[0]


def generated_images():
    """A disc, a gradient and noise, [3, 28, 28, 1]."""
    y, x = np.mgrid[:28, :28]
    disc = 200 * ((x - 13.5) ** 2 + (y - 13.5) ** 2 < 100)
    noise = np.random.default_rng(0).integers(0, 256, (28, 28))
    return np.stack([disc, 9 * x, noise]).astype(np.uint8)[..., None]


def test_scores_of_generated_images_are_those_of_its_weights(model):
    scores = model.log_prob(generated_images(), [8, 0, 3]).numpy()
    np.testing.assert_allclose(scores, [-780.469, -1325.818, -4631.486], rtol=1e-5)


def test_it_has_the_classes_of_fashion_mnist_and_ema_parameters_alone(model):
    assert model.class_names == CLASSES and model.num_labels == 10
    assert model.count_params() == 989_692
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 5e6


def test_first_command_of_the_readme_samples_a_row_for_each_class(tmp_path):
    line = f"--save_dir={FOLDER} --num_samples=20 --output_dir=samples --nojit_compile"
    done = run("sample.py", line, tmp_path)
    assert done.returncode == 0, done.stderr
    rows = ", ".join(f"{i} ({name})" for i, name in enumerate(CLASSES))
    assert done.stdout.startswith(f"20 samples, rows of labels {rows}: ")
    with np.load(tmp_path / "samples" / "samples.npz") as file:
        images = file["images"]
    assert images.shape == (20, 28, 28, 1)
    # Trousers and sneakers, not noise: background is black, the middle is not.
    assert (images[:, 0] == 0).mean() > 0.5 and images[:, 14].mean() > 30
