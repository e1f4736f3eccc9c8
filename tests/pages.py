"""The documentation, as the tests read it: pages, commands, links, prose."""

import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
}
README = PAGES["README.md"]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return [code for name, code in _FENCE.findall(text) if name == language]


def without_blocks(text: str, language: str) -> str:
    """A page without the code blocks in a language."""
    return _FENCE.sub(lambda m: "" if m[1] == language else m[0], text)


def commands(text: str) -> list[list[str]]:
    """The shell commands of a page, as words, without comments."""
    lines = "\n".join(blocks(text, "bash")).splitlines()
    lines += re.findall(r"`((?:python|make|pip) [^`]*)`", prose_and_code(text))
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        if words:
            found.append(words)
    return found


def prose_and_code(text: str) -> str:
    """A page without its code blocks; lines that break inside backticks are joined."""
    return _FENCE.sub("", text).replace("\n", " ")


def prose(text: str) -> str:
    """A page without code, addresses and HTML."""
    text = re.sub(r"`[^`]*`", "", _FENCE.sub("", text))
    return re.sub(r"\]\([^)]*\)|<[^>]*>", "", text)


def links(text: str) -> list[str]:
    """The targets of links and pictures."""
    text = _FENCE.sub("", text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }
