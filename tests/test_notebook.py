"""The notebook: runs from top to bottom; is stored with what it shows."""

import os
import pathlib
import sys

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent
PATH = ROOT / "notebooks" / "pixel_cnn_pp_colab.ipynb"

SMALLER = {"--nr_resnet=1": "--field=11x5", "--nr_filters=24": "--nr_filters=4"}


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def shown(notebook):
    """(number of pictures, what is printed)."""
    found = outputs(notebook)
    pictures = [o for o in found if "image/png" in o.get("data", {})]
    return len(pictures), "".join(o.get("text", "") for o in found)


def test_notebook_runs_from_top_to_bottom_and_shows_what_is_stored(
    tmp_path, monkeypatch
):
    for path in ROOT.iterdir():
        if path.name not in ("runs", ".git", "configs"):
            (tmp_path / path.name).symlink_to(path)
    # The smallest network; test_configs.py runs that of the file.
    flags = (ROOT / "configs" / "quickstart.cfg").read_text()
    for line, smaller in SMALLER.items():
        assert line in flags
        flags = flags.replace(line, smaller)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.cfg").write_text(flags)
    monkeypatch.setenv("STEPS", "5")
    # Set for the tests' own process: it would let TensorFlow's notes through.
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    # Its commands are those of this environment.
    bin_ = os.path.dirname(sys.executable)
    monkeypatch.setenv("PATH", bin_ + os.pathsep + os.environ["PATH"])
    stored = nbformat.read(PATH, as_version=4)
    run = nbformat.read(PATH, as_version=4)
    for cell in run.cells:
        cell.pop("outputs", None)
    nbclient.NotebookClient(
        run, timeout=900, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for pictures, text in (shown(stored), shown(run)):
        assert pictures == 5
        assert "test bits_per_dim = " in text and "(512 images)" in text
        assert "bits/dim: [" in text and "(2, 16, 16, 3)" in text
        assert "Traceback" not in text and "Error" not in text
