"""The flags of the entry points, and command lines parsed by them, in one process.

`python entry_points.py` reads a JSON object {script: [arguments, …]} and prints one of
{script: {flags: {name: {short, default, help}}, refused: [reason, …]}}. Nothing is run.
"""

import importlib
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tools")]

from absl import flags

FLAGS = flags.FLAGS
OURS = ("train.py", "evaluate.py", "export.py", "plot.py")
SCRIPTS = (
    *OURS,
    *(
        f"{folder}/{path.name}"
        for folder in ("benchmarks", "tools")
        for path in ROOT.glob(f"{folder}/*.py")
        if ".run(main)" in path.read_text()
    ),
    "tests/kill_and_resume.py",
)


def found_in(module) -> dict:
    return {
        flag.name: {
            "short": flag.short_name,
            "default": flag.default,
            "help": flag.help,
        }
        for flag in FLAGS.get_key_flags_for_module(module)
    }


def parsed(script: str, arguments: list[str]) -> str:
    """Why the script refuses these arguments; empty where it does not."""
    FLAGS.unparse_flags()
    for name in FLAGS:
        FLAGS[name].unparse()
    try:
        rest = FLAGS([script, *arguments])
    except flags.Error as error:
        return str(error)
    return "" if len(rest) == 1 else f"left over: {rest[1:]}"


def forget() -> None:
    """Makes room for the flags of the next script, which may have the same names."""
    for name, module in list(sys.modules.items()):
        flags_of_it = FLAGS.get_flags_for_module(module)
        if flags_of_it and str(getattr(module, "__file__", "")).startswith(str(ROOT)):
            for flag in flags_of_it:
                for key in {flag.name, flag.short_name} - {None}:
                    delattr(FLAGS, key)
            del sys.modules[name]


def main() -> None:
    lines = json.loads(sys.stdin.read())
    found = {}
    for script in SCRIPTS:
        module = importlib.import_module(pathlib.Path(script).stem)
        refused = [parsed(script, arguments) for arguments in lines.get(script, [])]
        found[script] = {"flags": found_in(module), "refused": refused}
        forget()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
