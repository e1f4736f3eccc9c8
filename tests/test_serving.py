"""docs/serving.md: its requests, commands and clients fit an exported model."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import served
import tensorflow as tf
from pages import PAGES, blocks, commands
from small_models import initialized
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from xla_kernels import kernels_of_xla

from pixel_cnn_pp import export

pytestmark = pytest.mark.slow

PAGE = PAGES["docs/serving.md"]
BODIES = [json.loads(text) for text in blocks(PAGE, "json")]
EXAMPLE, CLIENT, GRPC_CLIENT = blocks(PAGE, "python")
SHAPE = (2, 2, 1)


class Exported:
    """A small model, the folder MODEL of its version 1, and what a server loads."""

    def __init__(self, folder, num_labels, jit_compile):
        self.model = initialized(SHAPE, field="11x5", num_labels=num_labels)
        self.model.set_jit_compile(jit_compile)
        self.folder = folder / "MODEL"
        export.export(self.model, str(self.folder / "1"), jit_compile)
        self.signatures = tf.saved_model.load(str(self.folder / "1")).signatures


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("unconditional"), None, True)


@pytest.fixture(scope="module")
def with_labels(tmp_path_factory):
    """This one without XLA."""
    return Exported(tmp_path_factory.mktemp("with_labels"), 4, False)


def columns(body):
    """The inputs of a request by name, rows as columns."""
    if "inputs" in body:
        return body["inputs"]
    return {n: [row[n] for row in body["instances"]] for n in body["instances"][0]}


def expected(model, body):
    """What the model itself gives for a request, in the place where it is answered."""
    given = columns(body)
    labels = given.get("labels")
    if body["signature_name"] == "log_prob":
        images = np.array(given["images"], np.uint8)
        nats = model.log_prob(images, labels).numpy()
        return {"log_prob": nats, "bits_per_dim": -nats / (np.log(2) * 4)}
    settings = {"seed": given["seed"], "temperature": given["temperature"]}
    if body["signature_name"] == "sample":
        n = given.get("num_images") or len(labels)
        return model.sample(n, labels, **settings)
    images = np.array(given["images"], np.uint8)
    return model.complete(images, given["rows"], labels, **settings)


def test_page_has_a_request_of_each_kind():
    kinds = {
        (body["signature_name"], "labels" in columns(body), "inputs" in body)
        for body in BODIES
    }
    every = {(name, labels) for name, labels, _ in kinds}
    names = ("sample", "complete", "log_prob")
    assert every == {(name, labels) for name in names for labels in (False, True)}
    assert ("log_prob", False, False) in kinds and ("log_prob", False, True) in kinds


@pytest.mark.parametrize("body", BODIES, ids=lambda b: b["signature_name"])
def test_request_of_the_page_is_answered_with_what_the_model_gives(
    body, unconditional, with_labels
):
    exported = with_labels if "labels" in columns(body) else unconditional
    specs = exported.signatures[body["signature_name"]].structured_input_signature[1]
    assert set(columns(body)) == set(specs)
    found = served.answer(exported.signatures, body)
    wanted = expected(exported.model, body)
    if body["signature_name"] != "log_prob":
        drawn = np.array(found["outputs"])
        assert drawn.shape == (2, *SHAPE)
        # Without XLA the sums are others, and a value on a level's border may fall on
        # its other side.
        may_differ = 0 if exported is unconditional else 1
        assert np.abs(drawn - np.array(wanted, int)).max() <= may_differ
        return
    for name, values in wanted.items():
        if "inputs" in body:
            scores = found["outputs"][name]
        else:
            scores = [row[name] for row in found["predictions"]]
        np.testing.assert_allclose(scores, values, rtol=1e-5)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"num_images": 2.0}, "is not a int32"),
        ({"num_images": [2]}, "shape"),
        ({"num_images": 0}, "num_images must be above 0"),
        ({"seed": [1, 2, 3]}, "seed must be"),
    ],
)
def test_wrong_request_is_rejected_with_the_name_or_the_type(
    changes, reason, unconditional
):
    body = BODIES[0] | {"inputs": BODIES[0]["inputs"] | changes}
    with pytest.raises(served.Refused, match=reason):
        served.answer(unconditional.signatures, body)


def test_example_of_the_page_samples_with_tensorflow_alone(unconditional):
    names, lines = {}, EXAMPLE.replace("MODEL", str(unconditional.folder))
    exec(lines.replace('serve["sample"]', 'found = serve["sample"]'), names)
    expected = unconditional.model.sample(16, seed=(0, 1))
    np.testing.assert_array_equal(names["found"], expected)


def test_saved_model_cli_of_the_page_shows_and_samples(unconditional, tmp_path):
    lines = [words[1:] for words in commands(PAGE) if words[0] == "saved_model_cli"]
    show, run = [
        subprocess.Popen(
            [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
            + [word.replace("MODEL", str(unconditional.folder)) for word in line],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in lines
    ]
    shown, errors = show.communicate(timeout=300)
    assert show.returncode == 0, errors
    specs = unconditional.signatures["sample"].structured_input_signature[1]
    for name, spec in specs.items():
        kind = types_pb2.DataType.Name(spec.dtype.as_datatype_enum)
        assert f"inputs['{name}'] tensor_info:\n      dtype: {kind}\n" in shown
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    drawn = np.load(tmp_path / "OUT" / "images.npy")
    np.testing.assert_array_equal(drawn, unconditional.model.sample(1, seed=(0, 1)))


def run_client(text, where, folder):
    (folder / "client.py").write_text(text)
    return subprocess.run(
        [sys.executable, "client.py", where],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_client_of_the_page_samples_and_scores(unconditional, tmp_path):
    assert len(CLIENT.strip().splitlines()) <= 25
    with served.rest(unconditional.signatures) as where:
        done = run_client(CLIENT, where, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    images = unconditional.model.sample(2, seed=(0, 1)).numpy()
    np.testing.assert_array_equal(found["images"], images)
    nats = unconditional.model.log_prob(images)
    np.testing.assert_allclose(found["log_prob"], nats, rtol=1e-5)


def test_client_of_the_page_ends_in_one_line_that_says_what_was_wrong(
    with_labels, tmp_path
):
    with served.rest(with_labels.signatures) as where:
        done = run_client(CLIENT, where, tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == "sample: Missing named input: labels in 'inputs' object."


def test_grpc_client_of_the_page_samples(unconditional, tmp_path):
    pytest.importorskip("tensorflow_serving")
    with served.by_grpc(unconditional.signatures) as where:
        done = run_client(GRPC_CLIENT, where, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    images = unconditional.model.sample(2, seed=(0, 1))
    np.testing.assert_array_equal(found, images)


def compiled_by_xla(folder):
    """Whether a SavedModel has a function that XLA must compile."""
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    return bool(kernels_of_xla(saved.meta_graphs[0].graph_def))


def test_only_a_model_exported_without_jit_compile_needs_no_xla(
    unconditional, with_labels
):
    assert compiled_by_xla(unconditional.folder / "1")
    assert not compiled_by_xla(with_labels.folder / "1")


def test_model_config_of_the_page_names_what_docker_mounts_and_clients_ask_for():
    name = re.search(r'^    name: "(.*)"$', PAGE, re.M)[1]
    base = re.search(r'^    base_path: "(.*)"$', PAGE, re.M)[1]
    (docker,) = [words for words in commands(PAGE) if words[0] == "docker"]
    mounts = [docker[i + 1] for i, word in enumerate(docker) if word == "-v"]
    assert name == served.NAME and f"$PWD/MODEL:{base}" in mounts
    (config,) = [w.split("=")[1] for w in docker if "--model_config_file" in w]
    assert f"$PWD/models.config:{config}" in mounts
    assert f"/v1/models/{name}:predict" in CLIENT and f'"{name}"' in GRPC_CLIENT
