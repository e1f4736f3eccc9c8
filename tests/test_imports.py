"""The direction of imports: entry points use the package, never the other way."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "pixel_cnn_pp"
# Each room imports from itself and from rooms further down.
ROOMS = [
    ("train", "evaluate", "sample", "export", "plot"),
    ("task_flags",),
    ("image_flags",),
    ("cli",),
    ("pixel_cnn_pp",),
    ("training",),
    ("evaluation", "export"),
    ("openai_checkpoint",),
    ("checkpoint",),
    ("model",),
    ("fit",),
    ("sampling",),
    ("network",),
    ("layers", "likelihood"),
    ("memory", "topology", "config", "images", "prng", "distribution"),
    ("checks", "cluster", "files"),
]


def room_of(module: str) -> int:
    name = module.removeprefix("pixel_cnn_pp.").split(".")[0]
    rooms = ROOMS[1:] if module.startswith("pixel_cnn_pp.") else ROOMS
    places = [ROOMS.index(room) for room in rooms if name in room]
    assert places, f"{module} is in no room"
    return places[0]


def modules() -> dict[str, pathlib.Path]:
    """Every module of the package and every entry point, by its name."""
    found = {path.stem: path for path in ROOT.glob("*.py") if path.stem != "setup"}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__")] = path
    return found


def imported(path: pathlib.Path) -> set[str]:
    """Modules of ours, and others, that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            below = {f"{module}.{alias.name}" for alias in node.names}
            names |= (below & modules().keys()) or {module}
    return names


@pytest.mark.parametrize("module", modules())
def test_module_imports_from_its_own_room_or_below(module):
    for other in imported(modules()[module]) & modules().keys():
        assert room_of(other) >= room_of(module), f"{module} imports {other}"


@pytest.mark.parametrize("module", [m for m in modules() if m.startswith(PACKAGE.name)])
def test_package_imports_neither_data_nor_flags_nor_entry_points(module):
    top = {name.split(".")[0] for name in imported(modules()[module])}
    assert not top & {
        "data",
        "train",
        "evaluate",
        "sample",
        "export",
        "plot",
        "image_flags",
        "task_flags",
        "cli",
    }
    assert "absl.flags" not in imported(modules()[module])


def test_data_imports_leaves_of_the_package_alone():
    leaves = {f"pixel_cnn_pp.{name}" for room in ROOMS[-2:] for name in room}
    for path in (ROOT / "data").glob("*.py"):
        assert imported(path) & modules().keys() <= leaves, path


def test_no_two_modules_import_each_other():
    graph = {m: imported(path) & modules().keys() for m, path in modules().items()}

    def reaches(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            for other in graph[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        return seen

    circles = [m for m in graph if m in reaches(m)]
    assert not circles
