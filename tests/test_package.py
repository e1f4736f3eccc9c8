"""The wheel, in an environment of its own: the package alone, with all that it does."""

import contextlib
import inspect
import json
import pathlib
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from golden import Golden
from pages import PAGES, blocks
from small_models import SMALL, initialized

import pixel_cnn_pp
from pixel_cnn_pp import PixelCNNPP, checkpoint, export, images, openai_checkpoint
from pixel_cnn_pp.config import Config

ROOT = pathlib.Path(__file__).parent.parent
SETTINGS = {"field": "11x5"} | {k: v for k, v in SMALL.items() if k != "nr_resnet"}
# The lines of the pages that use the package.
(EXAMPLE,) = blocks(PAGES["docs/evaluation.md"], "python")
FIVE_LINES, _ = blocks(PAGES["README.md"], "python")

CLIENT = """
import importlib.metadata, importlib.util, json, pathlib, re, sys
import numpy as np
import pixel_cnn_pp
with np.load(sys.argv[1]) as file:
    of_run, of_official = file["of_run"], file["of_official"]
text = pathlib.Path(sys.argv[2]).read_text()
found = {}
# A line of the example makes the model of a run, another that of a checkpoint.
load_run, load_official = re.findall(r"^model.* = .*\\n", text, re.M)
rest = text.replace(load_run, "").replace(load_official, "")
imports, rest = re.match(r"((?:from .*\\n|\\n)+)((?s:.*))", rest).groups()
names = {"images": of_official}
exec(imports + load_official, names)
found["official_log_prob"] = names["model"].log_prob(of_official)
names = {"images": of_run}
exec(imports + load_run, names)
found["log_prob"] = names["model"].log_prob(of_run)
for line in rest.splitlines():
    call = re.match(r"model\\.(\\w+)\\(", line)
    if call and call[1] != "log_prob":
        found[call[1]] = eval(line, names)
    else:
        exec(line, names)
np.savez("found.npz", **found)
distribution = importlib.metadata.distribution("pixel_cnn_pp")
print(json.dumps({
    "package": pixel_cnn_pp.__file__,
    "metadata": dict(distribution.metadata),
    "entry_points": [str(point) for point in distribution.entry_points],
    "files": [str(path) for path in distribution.files],
    "data": importlib.util.find_spec("data") is not None,
    "path": sys.path,
}))
"""


def pip(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the checkout, in which building leaves what it leaves."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "checkout"
    copy.mkdir()
    for pattern in ("*.py", "*.toml", "*.md", "LICENSE"):
        for path in ROOT.glob(pattern):
            shutil.copy(path, copy)
    for name in ("pixel_cnn_pp", "data"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=without)
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
    pip("wheel", *options, "--wheel-dir", str(folder), str(copy))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run as train.py leaves it, and images of its model."""
    folder = tmp_path_factory.mktemp("run")
    config = Config.of(image_shape=(8, 8, 3), **SETTINGS)
    config.save(str(folder / checkpoint.CONFIG))
    variables = initialized((8, 8, 3), field="11x5").tf_variables()
    changed = {name: tf.Variable(v + 0.01) for name, v in variables.items()}
    (folder / checkpoint.FOLDER).mkdir()
    groups = {"parameters": changed, "averages": variables}
    checkpoint.write(str(folder), 1, groups)
    return folder


@pytest.fixture(scope="module")
def found(wheel, run_folder, tmp_path_factory):
    """What the example of the pages gives in the new environment, and what is there."""
    folder = tmp_path_factory.mktemp("environment")
    new = folder / "new"
    command = [sys.executable, "-m", "venv", "--without-pip", str(new)]
    subprocess.run(command, check=True, timeout=120)
    python = new / "bin" / "python"
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    # It sees TensorFlow, but runs no .pth file of the environment of the tests.
    (packages,) = new.glob("lib/python*/site-packages")
    seen = {sysconfig.get_path("purelib"), *site.getsitepackages()}
    (packages / "seen.pth").write_text("\n".join(sorted(seen)))

    empty = folder / "empty"
    empty.mkdir()
    rng = np.random.default_rng(0)
    of_run = rng.integers(0, 256, (16, 8, 8, 3), np.uint8)
    of_official = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.savez(folder / "images.npz", of_run=of_run, of_official=of_official)
    official = Golden("unconditional").checkpoint
    example = EXAMPLE
    for name, value in {"RUN": run_folder, "params_cifar.ckpt": official}.items():
        assert f'"{name}"' in example
        example = example.replace(f'"{name}"', f'"{value}"')
    (folder / "example.py").write_text(example.replace("rows=16", "rows=4"))
    done = subprocess.run(
        [python, "-I", "-c", CLIENT, folder / "images.npz", folder / "example.py"],
        capture_output=True,
        text=True,
        cwd=empty,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with np.load(empty / "found.npz") as file:
        arrays = dict(file)
    told = json.loads(done.stdout.splitlines()[-1])
    return told, arrays, of_run, of_official, empty


def test_wheel_holds_the_package_its_licence_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    paths = (ROOT / "pixel_cnn_pp").rglob("*.py")
    modules = {path.relative_to(ROOT).as_posix() for path in paths}
    package = {name for name in names if name.startswith("pixel_cnn_pp/")}
    assert package == modules | {"pixel_cnn_pp/py.typed"}
    rest = set(names) - package
    assert all(re.match(r"pixel_cnn_pp-[\d.]+\.dist-info/", name) for name in rest)
    assert any(name.endswith("/LICENSE") for name in rest)


@pytest.mark.slow
def test_environment_has_the_wheel_s_package_and_no_data_no_entry_points(found, wheel):
    told, *_ = found
    assert "/new/lib/" in told["package"] and str(ROOT) not in told["path"]
    assert not told["data"] and not told["entry_points"]
    assert any(name.startswith("pixel_cnn_pp/model") for name in told["files"])
    assert {name.split("/")[0].split("-")[0] for name in told["files"]} == {
        "pixel_cnn_pp"
    }
    of = told["metadata"]
    assert (of.get("License-Expression") or of["License"]) == "MIT"
    assert set(of["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    assert f"-{of['Version']}-" in wheel.name


@pytest.mark.slow
def test_example_of_the_readme_gives_there_what_the_checkout_gives(found, run_folder):
    _, arrays, of_run, of_official, folder = found
    model, _ = checkpoint.load_model(str(run_folder))
    np.testing.assert_allclose(arrays["log_prob"], model.log_prob(of_run), rtol=1e-5)
    np.testing.assert_array_equal(arrays["sample"], model.sample(16, seed=(0, 1)))
    completed = model.complete(of_run, rows=4, seed=(0, 2))
    np.testing.assert_array_equal(arrays["complete"], completed)
    assert sorted(path.name for path in folder.iterdir()) == ["MODEL", "found.npz"]
    signatures = tf.saved_model.load(str(folder / "MODEL")).signatures
    scored = signatures["log_prob"](images=tf.constant(of_run))["log_prob"]
    np.testing.assert_allclose(scored, arrays["log_prob"], rtol=1e-5)

    official = openai_checkpoint.build_model(Golden("unconditional").checkpoint)
    nats = official.log_prob(of_official)
    np.testing.assert_allclose(arrays["official_log_prob"], nats, rtol=1e-5)


def test_version_of_the_package_is_that_of_the_wheel_and_on_top_of_the_changelog(wheel):
    version = re.search(r"pixel_cnn_pp-([\d.]+)-", wheel.name)[1]
    newest = re.search(r"^## \[?([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest[1] == version == pixel_cnn_pp.__version__


API = [
    *(
        getattr(PixelCNNPP, name)
        for name in ("__init__", "initialize", "round_kernels")
    ),
    *(getattr(PixelCNNPP, name) for name in ("image_loss", "log_prob")),
    *(getattr(PixelCNNPP, name) for name in ("sample", "complete")),
    *(checkpoint.load_config, checkpoint.load_model),
    *(openai_checkpoint.infer, openai_checkpoint.load, openai_checkpoint.build_model),
    *(export.export, Config, Config.load, Config.save, Config.of),
]


@pytest.mark.parametrize("function", API, ids=lambda function: function.__qualname__)
def test_public_function_has_types_and_says_what_it_does(function):
    signature = inspect.signature(function)
    for name, parameter in signature.parameters.items():
        assert name == "self" or parameter.annotation is not parameter.empty, name
    is_initializer = function is PixelCNNPP.__init__
    assert is_initializer or signature.return_annotation is not signature.empty
    assert (PixelCNNPP if is_initializer else function).__doc__


@pytest.mark.slow
def test_five_lines_of_the_readme_write_a_png_of_samples(run_folder, tmp_path):
    assert (
        sum(map(bool, FIVE_LINES.splitlines())) == 5
        and '"runs/quickstart"' in FIVE_LINES
    )
    lines = FIVE_LINES.replace("runs/quickstart", str(run_folder))
    with contextlib.chdir(tmp_path):
        exec(lines, {})
    png = tf.io.decode_png(tf.io.read_file(str(tmp_path / "samples.png"))).numpy()
    samples = initialized((8, 8, 3), field="11x5").sample(16, seed=(0, 1)).numpy()
    np.testing.assert_array_equal(png, images.enlarge(images.tile(samples), 4))
