"""README and docs: each command parses, each link leads somewhere, each flag exists."""

import importlib
import inspect
import os
import re

import child_processes
import pytest
import tensorflow as tf
from command_lines import OURS, SCRIPTS, entry_point
from golden import Golden
from pages import PAGES, README, ROOT, anchors, commands, links, without_blocks
from small_runs import SMALL

from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training.state import TrainState

OF_OPENAI = PAGES["docs/coming_from_openai.md"]
# Without the scripts for schedulers, which tests/test_schedulers.py runs.
ALL = "\n".join(without_blocks(text, "sh") for text in PAGES.values())
COMMANDS = [words for text in PAGES.values() for words in commands(text)]
CLIENTS = {"client.py", "client_grpc.py"}  # Programs that docs/serving.md lists.
# Of ruff, Docker, TensorFlow Serving and saved_model_cli.
OF_OTHERS = {"check", "rm", "model_config_file", "xla_cpu_compilation_enabled"}
OF_OTHERS |= {"dir", "tag_set", "signature_def", "input_exprs", "outdir"}
OF_OTHERS |= {"enable_batching"}
NOT_OURS = {"cd", "docker", "export", "git", "pip", "saved_model_cli", "."}


def of_script(script):
    """The arguments of each command of this script that is written out in full."""
    return [
        words[2:]
        for words in COMMANDS
        if words[:2] == ["python", script] and "--help" not in words
    ]


def test_commands_are_of_our_scripts_of_make_or_of_known_programs():
    scripts = {words[1] for words in COMMANDS if words[0] == "python"} - {"-m", "-c"}
    assert scripts <= {*SCRIPTS, *CLIENTS}
    assert scripts >= set(SCRIPTS)
    assert {words[0] for words in COMMANDS} <= NOT_OURS | {"python", "make"}


def test_targets_of_make_in_the_pages_exist_and_have_a_help_text():
    makefile = (ROOT / "Makefile").read_text()
    documented = set(re.findall(r"^(\w+):.*## \w", makefile, re.M))
    assert documented == set(re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split())
    named = {
        word
        for words in COMMANDS
        if words[0] == "make"
        for word in words[1:]
        if "=" not in word
    }
    targets = {"quickstart", "test", "golden", "install", "help", "address"}
    assert targets == named == documented


def test_extras_in_the_pages_are_those_of_setup_py():
    extras = set(
        re.findall(r'^        "(\w+)": \[', (ROOT / "setup.py").read_text(), re.M)
    )
    named = {
        extra
        for group in re.findall(r"-e '\.\[(.*?)\]'", ALL)
        for extra in group.split(",")
    }
    assert named >= {"gpu", "images", "plots", "tensorboard"} and named <= extras


def test_readme_is_read_in_ten_minutes():
    assert 900 <= len(README.split()) <= 1300


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_exist(page):
    for link in links(PAGES[page]):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_address_of_the_repository_is_one():
    notebook = (ROOT / "notebooks" / "pixel_cnn_pp_colab.ipynb").read_text()
    addresses = re.findall(
        r"github(?:\.com)?/([^/\s\"]+)/pixel_cnn_pp\b", ALL + notebook
    )
    assert len(addresses) >= 4 and len(set(addresses)) == 1
    changed = re.search(r"^ADDRESSED = (.*)$", (ROOT / "Makefile").read_text(), re.M)[1]
    holders = {page for page, text in PAGES.items() if "/pixel_cnn_pp\n" in text}
    assert holders < set(changed.split())


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "variable, prefix", [("XLA_FLAGS", "xla_gpu"), ("TF_XLA_FLAGS", "tf_xla")]
)
def test_xla_knows_its_flags_that_a_page_names(variable, prefix):
    flags = set(re.findall(rf"--{prefix}_\w+=[^\s\"`]+", ALL))
    code = "import tensorflow as tf; print(tf.function(tf.abs, jit_compile=True)(-2))"
    assert flags
    unknown = f"--{prefix}_no_such_flag=1"
    for given in flags, {*flags, unknown}:
        environment = os.environ | {variable: " ".join(given)}
        done = child_processes.run("-c", code, environment=environment)
        fails = unknown in given
        assert bool(done.returncode) == fails, done.stderr
        assert (f"Unknown flag in {variable}: {unknown}" in done.stderr) == fails


def test_each_flag_that_a_page_names_is_there():
    there = {name for s in SCRIPTS for name in entry_point(s).key_flags} | OF_OTHERS
    there |= {"help", "flagfile", "verbosity", "version"} | {
        f"no{name}" for name in there
    }
    named = set(re.findall(r"(?<![\w-])--(?!xla_gpu_|tf_xla_)([a-z]\w*)", ALL))
    assert "save_dir" in named and named - there == set()
    shorts = {
        flag.short_name for s in OURS for flag in entry_point(s).key_flags.values()
    }
    code = re.findall(r"`-([a-z]+)\b", ALL)
    assert "r" in code and set(code) - shorts == set()


def test_options_of_training_are_all_the_flags_of_train_py_with_their_defaults():
    flags = entry_point("train.py").key_flags
    table = PAGES["docs/training.md"].split("## Options\n")[1].split("\n## ")[0]
    rows = re.findall(
        r"^\| `--(\w+)`(?:, `-(\w+)`)? \|\s*`?([^|`]*?)`?\s*\|", table, re.M
    )
    found = {name: (short or None, default) for name, short, default in rows}
    assert set(found) == set(flags)
    for name, flag in flags.items():
        default = "" if flag.default is None else str(flag.default)
        assert found[name] == (flag.short_name, default), name


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
    state = TrainState(Config.of(**SMALL), tf.distribute.get_strategy())
    ours = {f"{g}/{name}" for g, of in state.groups().items() for name in of}
    rows = table("| official | here | |")
    assert len(rows) == 5
    for theirs, here, _ in rows:
        assert official.has_tensor(theirs.strip("`"))
        assert here.strip("`") in ours


def test_paper_is_cited_alike_in_the_readme_and_in_citation_cff():
    cff = (ROOT / "CITATION.cff").read_text()
    title = re.search(r"^  title=\{(.*)\},$", README, re.M)[1]
    assert f'  title: "{title}"' in cff
    names = re.search(r"^  author=\{(.*)\},$", README, re.M)[1].split(" and ")
    in_cff = re.findall(r"family-names: (.*)\n +given-names: (.*)", cff)
    assert names == [f"{given} {family}" for family, given in in_cff]
    assert "1701.05517" in cff and "  year: 2017" in cff and "year={2017}" in README
