"""The SavedModel, in a process that imports TensorFlow and NumPy alone."""

import errno
import json
import os
import unittest.mock

import child_processes
import numpy as np
import pytest
import tensorflow as tf
from small_models import initialized

from pixel_cnn_pp import export, files

# Loads a SavedModel, runs the calls that it reads, and prints what each gave. A call
# that fails is followed by others, as in a server.
CLIENT = """
import json, sys
import numpy as np
import tensorflow as tf
assert "pixel_cnn_pp" not in sys.modules
folder, calls = sys.argv[1], json.loads(sys.argv[2])
signatures = tf.saved_model.load(folder).signatures
answers = [sorted(signatures)]
for name, inputs in calls:
    inputs = {k: tf.constant(np.array(v, dtype)) for k, (v, dtype) in inputs.items()}
    try:
        outputs = signatures[name](**inputs)
        answers.append({k: v.numpy().tolist() for k, v in outputs.items()})
    except tf.errors.InvalidArgumentError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


@pytest.fixture(scope="module", params=[None, 4], ids=["unconditional", "labels"])
def exported(request, tmp_path_factory):
    model = initialized((6, 5, 3), field="11x5", num_labels=request.param)
    folder = tmp_path_factory.mktemp("export") / "deep" / "model"
    export.export(model, str(folder))
    return model, folder


def client(folder, calls):
    answer = child_processes.run("-c", CLIENT, folder, json.dumps(calls), cwd=folder)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.slow
def test_signatures_give_in_a_bare_process_what_the_model_gives(exported):
    model, folder = exported
    given = np.random.default_rng(1).integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    drawing = {"seed": ([3, 4], "int32"), "temperature": (0.8, "float32")}
    images = {"images": (given.tolist(), "uint8")}
    labels = None if model.num_labels is None else [1, 0, 3]
    of_labels = {} if labels is None else {"labels": (labels, "int32")}
    sampling = drawing | (of_labels or {"num_images": (3, "int32")})
    completing = drawing | images | of_labels | {"rows": (2, "int32")}
    bad = [
        ("temperature", "sample", sampling | {"temperature": (0.0, "float32")}),
        ("rows", "complete", completing | {"rows": (7, "int32")}),
        (
            "images",
            "log_prob",
            of_labels | {"images": (given[:, 1:].tolist(), "uint8")},
        ),
        ("images", "log_prob", of_labels | {"images": (given[0].tolist(), "uint8")}),
        ("images", "log_prob", of_labels | {"images": (3, "uint8")}),
        ("seed", "sample", sampling | {"seed": ([1, 2, 3], "int32")}),
        ("temperature", "sample", sampling | {"temperature": (np.inf, "float32")}),
    ]
    if labels is None:
        bad += [("num_images", "sample", sampling | {"num_images": (0, "int32")})]
    else:
        bad += [
            ("labels", "sample", drawing | {"labels": ([0, 4], "int32")}),
            ("labels", "log_prob", images | {"labels": ([0], "int32")}),
            ("labels", "sample", drawing | {"labels": ([[0]], "int32")}),
            ("labels", "sample", drawing | {"labels": ([], "int32")}),
            ("labels", "complete", completing | {"labels": ([0, 1, -1], "int32")}),
        ]
    names, *refused, drawn, default, done, scores = client(
        folder,
        [(name, inputs) for _, name, inputs in bad]
        + [("sample", sampling), ("serving_default", sampling)]
        + [("complete", completing), ("log_prob", images | of_labels)],
    )
    assert names == ["complete", "log_prob", "sample", "serving_default"]
    for (named, _, _), message in zip(bad, refused, strict=True):
        assert f"assertion failed: [{named} must" in message

    settings = {"labels": labels, "seed": (3, 4), "temperature": 0.8}
    np.testing.assert_array_equal(drawn["images"], model.sample(3, **settings))
    assert default == drawn
    completed = model.complete(given, 2, **settings)
    np.testing.assert_array_equal(done["images"], completed)
    nats = model.log_prob(given, labels).numpy()
    np.testing.assert_allclose(scores["log_prob"], nats, rtol=1e-5)
    bits = -nats / (np.log(2) * 6 * 5 * 3)
    np.testing.assert_allclose(scores["bits_per_dim"], bits, rtol=1e-5)


@pytest.mark.slow
def test_saved_model_holds_each_parameter_once(exported):
    model, folder = exported
    values = (folder / "variables" / "variables.data-00000-of-00001").stat().st_size
    floats = sum(int(np.prod(p.shape)) for p in model.parameters.values())
    # Besides the parameters it holds the names that TensorFlow has for its objects.
    assert 4 * floats <= values < 4 * floats + 100 * len(model.parameters) + 4000


@pytest.fixture(scope="module")
def model():
    return initialized((6, 5, 3), field="11x5")


def test_folder_that_holds_something_is_rejected_and_left_alone(model, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("kept")
    with pytest.raises(FileExistsError, match="--export_dir=.*model: exists already"):
        export.export(model, str(tmp_path / "model"))
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["mine"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_model_with_a_weight_that_is_no_number_is_rejected(tmp_path):
    model = initialized((6, 5, 3), field="11x5")
    weights = model.linear_layers[-1].b
    weights.assign(np.full(weights.shape, np.inf))
    with pytest.raises(ValueError, match="NaN or infinite weights, for example in"):
        export.export(model, str(tmp_path / "model"))
    assert not list(tmp_path.iterdir())


def test_left_overs_of_killed_exports_are_removed_and_nothing_else(tmp_path):
    killed = tmp_path / ".export-killed"  # As SIGKILL leaves it.
    (killed / "model" / "variables").mkdir(parents=True)
    (killed / "lock").write_text("1")
    mine = tmp_path / ".export-notes"
    mine.mkdir()
    (mine / "note").write_text("kept")
    with export.staging_folder(str(tmp_path / "running")) as running:
        with export.staging_folder(str(tmp_path / "model")):
            assert not killed.exists()
            assert os.path.exists(running) and mine.exists()
    assert os.listdir(tmp_path) == [".export-notes"]


def test_export_begins_anew_where_one_to_the_same_folder_was_killed(tmp_path):
    part = tmp_path / ".export-model" / "model" / "part"
    part.mkdir(parents=True)
    with export.staging_folder(str(tmp_path / "model")) as folder:
        assert os.listdir(folder) == ["lock"]


@pytest.mark.parametrize("name", ["note", "lock"])
def test_files_of_others_where_an_export_is_prepared_are_left_alone(tmp_path, name):
    (tmp_path / ".export-model").mkdir()
    (tmp_path / ".export-model" / name).write_text("kept")
    with pytest.raises(OSError, match=r"--export_dir=.*model: .*give another"):
        with export.staging_folder(str(tmp_path / "model")):
            pass
    assert (tmp_path / ".export-model" / name).read_text() == "kept"


def test_second_export_to_one_folder_names_the_process_of_the_first(tmp_path):
    path = str(tmp_path / "model")
    with export.staging_folder(path) as folder:
        rule = f"--export_dir={path}: process {os.getpid()} writes to it; wait until"
        with pytest.raises(files.Locked, match=rule), export.staging_folder(path):
            pass
        assert os.listdir(folder) == ["lock"]


def test_export_that_another_process_finished_meanwhile_is_kept(
    model, tmp_path, monkeypatch
):
    path, checks = tmp_path / "model", []
    check_export_dir = export.check_export_dir

    def finish_another(export_dir):
        check_export_dir(export_dir)
        checks.append(export_dir)
        path.mkdir()
        (path / "saved_model.pb").write_text("the other's")

    monkeypatch.setattr(export, "check_export_dir", finish_another)
    with pytest.raises(FileExistsError, match="exists already"):
        export.export(model, str(path))
    assert len(checks) == 1
    assert (path / "saved_model.pb").read_text() == "the other's"
    assert os.listdir(tmp_path) == ["model"]


def test_export_on_a_full_disk_is_one_line_and_leaves_nothing(
    model, tmp_path, monkeypatch
):
    def fail(_, folder, *__):
        os.makedirs(folder)
        raise tf.errors.ResourceExhaustedError(None, None, "x; No space left\n[[node]]")

    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left")
        patch.setattr(os, "write", unittest.mock.Mock(side_effect=full))
        with pytest.raises(OSError, match=r"No space left: '.*/.export-model/lock'"):
            export.export(model, str(tmp_path / "model"))
    assert os.listdir(tmp_path) == []

    monkeypatch.setattr(tf.saved_model, "save", fail)
    rule = r"--export_dir=.*/model: cannot be written \(x; No space left\); make room"
    with pytest.raises(OSError, match=rule):
        export.export(model, str(tmp_path / "model"))
    assert os.listdir(tmp_path) == []
