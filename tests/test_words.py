"""The field's words in README, docs, notebook, help texts and messages."""

import ast
import json
import re

import pytest
from command_lines import SCRIPTS, entry_point
from pages import PAGES, ROOT, prose

# What must not stand there, and what stands there instead.
WORDS = {
    r"draw(s|n|ing|ings)?\b": "sample",
    r"figures?\b(?! \d)": "metric, result",
    r"levels\b": "pixel values",
    r"averaged parameters": "EMA parameters",
    r"(?<!Polyak )averages\b": "EMA parameters, Polyak averages",
    r"(?<!heat )(?<!feature )maps\b": "activations, feature maps",
    r"short-?cuts?\b": "skip connections",
    r"way (down|up)\b": "downsampling path, upsampling path",
    r"sheets?\b": "image grid",
    r"(un)?foreseen\b": "predictable, surprising",
    r"refus(e|es|ed|al|als|ing)\b": "reject",
    r"(go|goes|going|went) on (with|from)\b": "resume",
    r"(is|are|was|were|be) (left out|passed over)": "is skipped",
    r"(is|are|was|were) told\b": "is logged",
    r"told (apart )?by\b": "identified by",
    r"as they come\b": "streamed",
    r"(its|their) turn\b": "lazily",
    r"neighbours (on|of) the machine|has neighbours": "the machine is shared",
    r"never stopped\b": "uninterrupted",
    r"first weights\b": "initial weights",
}
FORBIDDEN = re.compile(rf"\b({'|'.join(f'(?:{word})' for word in WORDS)})", re.I)
# Names of flags and of keys in prose.
ALLOWED = re.compile(r"--\w+|\w*_\w+")


def found_in(text: str) -> list[str]:
    """What must not stand in a text, each with the words around it."""
    text = " ".join(ALLOWED.sub("", text).split())
    return [
        text[max(0, match.start() - 30) : match.end() + 20]
        for match in FORBIDDEN.finditer(text)
    ]


def messages(path) -> list[str]:
    """The texts of a module that are no docstrings and no names: messages, help."""
    tree = ast.parse(path.read_text())
    statements = [n.value for n in ast.walk(tree) if isinstance(n, ast.Expr)]
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and " " in node.value
        and node not in statements
    ]


def test_words_that_must_not_stand_there_are_found():
    assert found_in("It draws images, num_levels and --draws.") == [
        "It draws images, and ."
    ]
    assert found_in("The figure of the levels") and not found_in("see figure 7")


@pytest.mark.parametrize("page", PAGES)
def test_page_uses_the_words_of_the_field(page):
    assert found_in(prose(PAGES[page])) == []


def test_notebook_uses_the_words_of_the_field():
    path = ROOT / "notebooks" / "pixel_cnn_pp_colab.ipynb"
    cells = json.loads(path.read_text())["cells"]
    texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    assert [found for text in texts for found in found_in(prose(text))] == []


def test_comments_of_flagfiles_use_the_words_of_the_field():
    texts = [path.read_text() for path in (ROOT / "configs").glob("*.cfg")]
    assert [found for text in texts for found in found_in(text)] == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_uses_the_words_of_the_field(script):
    flags = entry_point(script).key_flags
    assert {n: f for n, flag in flags.items() if (f := found_in(flag.help))} == {}


@pytest.mark.parametrize("folder", [".", "benchmarks", "data", "pixel_cnn_pp", "tools"])
def test_messages_use_the_words_of_the_field(folder):
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py")
        for message in messages(path)
        for text in found_in(message)
    }
    assert found == set()
