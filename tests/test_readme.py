"""The README and the pages in docs/: their commands parse, what they name is there."""

import importlib
import inspect
import pathlib
import re
import shlex

import pytest
import tensorflow as tf
from command_lines import OURS, SCRIPTS, entry_point
from golden import Golden
from small_runs import SMALL

from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training.state import TrainState

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in ROOT.glob("docs/*.md")}
OF_OPENAI = PAGES["coming_from_openai.md"]
PAGES["README.md"] = README
ALL = "\n".join(PAGES.values())
COMMANDS = [
    shlex.split(command)[1:]
    for command in re.findall(r"^    (python \S+\.py .*)$", ALL, re.M)
    + re.findall(r"`(python \S+\.py[^`]*)`", ALL)
]
CLIENTS = {"client.py", "client_grpc.py"}  # Programs that docs/serving.md lists.
# Of ruff, Docker, TensorFlow Serving and saved_model_cli.
OF_OTHERS = {"check", "rm", "model_config_file", "xla_cpu_compilation_enabled"}
OF_OTHERS |= {"dir", "tag_set", "signature_def", "input_exprs", "outdir"}
OF_OTHERS |= {"enable_batching"}


def of_script(script):
    """The arguments of each command of this script that is written out in full."""
    found = [arguments for name, *arguments in COMMANDS if name == script]
    return [a for a in found if not {"--help", "--output"} & set(a)]


def test_pages_name_every_entry_point_and_no_other_script():
    named = {script for script, *_ in COMMANDS}
    assert named <= {*SCRIPTS, *CLIENTS}
    assert named >= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_of_the_pages_parse(script):
    point = entry_point(script)
    errors = {str(command): point.parse(command) for command in of_script(script)}
    assert errors == dict.fromkeys(errors, "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_flag_has_its_help(script):
    flags = entry_point(script).key_flags
    assert flags
    assert [name for name, flag in flags.items() if len(flag.help or "") < 10] == []


def test_each_flag_that_a_page_names_is_there():
    there = {name for s in SCRIPTS for name in entry_point(s).key_flags} | OF_OTHERS
    there |= {"help", "flagfile", "verbosity"} | {f"no{name}" for name in there}
    named = set(re.findall(r"(?<![\w-])--([a-z]\w*)", ALL))
    assert "save_dir" in named and named - there == set()
    shorts = {
        flag.short_name for s in OURS for flag in entry_point(s).key_flags.values()
    }
    code = re.findall(r"`-([a-z]+)\b", ALL)
    assert "r" in code and set(code) - shorts == set()


def test_quickstart_stands_in_readme_as_the_makefile_runs_it():
    makefile = (ROOT / "Makefile").read_text()
    for script in ("train", "evaluate"):
        (line,) = re.findall(rf"\$\(VENV\)/bin/python {script}\.py (.*)", makefile)
        assert (
            f"python {script}.py {line.replace('$(RUN)', 'runs/quickstart')}" in README
        )


def table(header):
    """Cells of the table of docs/coming_from_openai.md with this first line."""
    lines = OF_OPENAI.split(header + "\n")[1].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_official_flags_have_here_the_short_forms_and_defaults_of_the_table():
    flags = entry_point("train.py").key_flags
    rows = table("| official | short | default | here |")
    assert len(rows) == 21  # What the official train.py has.
    for name, short, default, other in rows:
        flag = flags[name.strip("`-")]
        assert f"`-{flag.short_name}`" == short or (not short and not flag.short_name)
        assert other or f"`{flag.default}`" == default
    same = {name.strip("`-") for name, _, _, other in rows if not other}
    assert {"nr_resnet", "learning_rate", "batch_size", "max_epochs"} <= same


def resolve(name):
    """What a dotted name of the page stands for; AttributeError where it is nothing."""
    for start in ("pixel_cnn_pp.", ""):
        first, *rest = (start + name).split(".")
        found = importlib.import_module(first)
        try:
            for part in rest:
                if inspect.ismodule(found) and not hasattr(found, part):
                    importlib.import_module(f"{found.__name__}.{part}")
                in_class = getattr(found, "__annotations__", {})
                found = in_class[part] if part in in_class else getattr(found, part)
            return found
        except ModuleNotFoundError:
            continue
    raise AttributeError(name)


def test_each_name_on_our_side_is_there():
    rows = table("| official file | here |")
    for _, here in rows:
        for name in re.findall("`(.*?)`", here):
            assert (ROOT / name).is_file(), name
    names = [n for _, here in table("| official name | here |") for n in names_in(here)]
    names += names_in(OF_OPENAI.split("## Keys of a checkpoint")[1])
    assert len(names) > 40
    for name in names:
        assert resolve(name) is not None


def names_in(text):
    """Names of code, not of labels, keys and parameters."""
    found = re.findall(r"`([\w.]+)`", text)
    return [n for n in found if "." in n or n[0].isupper() and "Variable" not in n]


def test_keys_of_the_table_are_those_of_an_official_checkpoint_and_of_ours():
    official = tf.train.load_checkpoint(Golden("unconditional").checkpoint)
    state = TrainState(Config.of(**SMALL))
    ours = {f"{g}/{name}" for g, of in state.groups().items() for name in of}
    rows = table("| official | here | |")
    assert len(rows) == 5
    for theirs, here, _ in rows:
        assert official.has_tensor(theirs.strip("`"))
        assert here.strip("`") in ours


def test_paper_is_cited_alike_in_the_readme_and_in_citation_cff():
    cff = (ROOT / "CITATION.cff").read_text()
    title = re.search(r"^      title=\{(.*)\},$", README, re.M)[1]
    assert f'  title: "{title}"' in cff
    names = re.search(r"^      author=\{(.*)\},$", README, re.M)[1].split(" and ")
    in_cff = re.findall(r"family-names: (.*)\n +given-names: (.*)", cff)
    assert names == [f"{given} {family}" for family, given in in_cff]
    assert "1701.05517" in cff and "  year: 2017" in cff and "year={2017}" in README
