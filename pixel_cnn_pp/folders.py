"""Folders to write to: checked before the work, made after it."""

import os


def refuse_unwritable(flag: str, folder: str) -> None:
    """Raises ValueError where a folder cannot be made or written to."""
    there = os.path.abspath(folder)
    while not os.path.lexists(there):  # Folders that are not there will be made.
        there = os.path.dirname(there)
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"--{flag}={folder}: {there} is no folder that can be written to; give "
            f"another --{flag}."
        )
