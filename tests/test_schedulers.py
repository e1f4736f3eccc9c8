"""The scripts of docs/gpu.md for schedulers start workers that train.py understands."""

import json
import os
import pathlib
import re
import subprocess

import pytest
import yaml
from command_lines import entry_point

from pixel_cnn_pp.cluster import position

PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "gpu.md").read_text()
# Stands for Python: prints what it is called with.
PYTHON = '#!/bin/bash\necho "$TF_CONFIG"; echo "$@"\n'
# Runs both tasks on this machine.
SRUN = '#!/bin/bash\nshift\nfor i in 0 1; do SLURM_PROCID=$i "$@" || exit 1; done\n'
SCONTROL = "#!/bin/bash\nprintf 'n1\\nn2\\n'\n"


def code(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.S)[1]


@pytest.fixture
def run_bash(tmp_path):
    """Runs a script with stand-ins for Python and SLURM; returns what it prints."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("python", PYTHON), ("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    def run(script, **environment):
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ | environment | {"PATH": f"{folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    return run


def check_worker(config, command, index, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    assert position() == (index, 2)
    assert json.loads(config)["task"]["index"] == index
    script, *arguments = command.split()
    assert script == "train.py"
    assert entry_point(script).parse(arguments) == ""


def test_slurm_script_starts_two_workers_and_resumes_what_is_there(
    run_bash, tmp_path, monkeypatch
):
    script = code("sh")
    environment = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "7"}
    lines = run_bash(script, **environment)
    assert len(lines) == 4 and '"n1:2222", "n2:2222"' in lines[0].replace(",", ", ")
    for index in (0, 1):
        check_worker(*lines[2 * index : 2 * index + 2], index, monkeypatch)
        assert "--resume" not in lines[2 * index + 1]
    (tmp_path / "runs" / "cifar").mkdir(parents=True)
    (tmp_path / "runs" / "cifar" / "config.json").touch()
    assert run_bash(script, **environment)[3].endswith(" --resume")


def test_kubernetes_job_starts_two_workers_that_its_service_names(
    run_bash, monkeypatch
):
    service, job = yaml.safe_load_all(code("yaml"))
    pod = job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"]["job-name"] == job["metadata"]["name"]
    (container,) = pod["containers"]
    for index in range(job["spec"]["completions"]):
        lines = run_bash(container["args"][0], JOB_COMPLETION_INDEX=str(index))
        check_worker(*lines, index, monkeypatch)
        workers = json.loads(lines[0])["cluster"]["worker"]
        name = f"{job['metadata']['name']}-{index}.{pod['subdomain']}"
        assert workers[index].split(":")[0] == name
