"""The image files below a folder, their classes, and what is skipped there."""

import collections
import fnmatch
import heapq
import os

from data.image_file import EXTENSIONS
from data.source import class_name, printable

# Folders that systems and programs make beside the user's own.
NOT_CLASSES = (  # In small letters: on several systems case does not matter.
    ".*",
    "@*",
    "~snapshot",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "recycled",
    "__macosx",
    "__pycache__",
    "_gsdata_",
    "lost+found",
    "found.[0-9][0-9][0-9]",
    "system volume information",
    "network trash folder",
    "temporary items",
    "thevolumesettingsfolder",
)
KINDS = 8  # Kinds of skipped entries that are listed; the others are counted.


def find_images(root: str) -> tuple[list[str], str]:
    """Paths of all image files below root, relative to it, sorted; what was skipped.

    No folder is read twice, so that loops of links end. Links to folders are followed
    after all folders, those nearest to root first.
    """
    files, skipped = [], collections.Counter()
    folders, links, seen, top_folders = [""], [], set(), set()
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)[1]
        status = os.stat(os.path.join(root, folder))
        if (status.st_dev, status.st_ino) in seen:
            skipped["links to folders that are read already"] += 1
            continue
        seen.add((status.st_dev, status.st_ino))
        if folder and is_run(os.path.join(root, folder)):
            skipped["folders of runs"] += 1
            continue
        top_folders.add(folder.partition(os.sep)[0])
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                reason = why_skipped(entry)
                if reason is not None:
                    skipped[reason] += 1
                elif not is_folder(entry):
                    files.append(path)
                elif entry.is_symlink():
                    heapq.heappush(links, (path.count(os.sep), path))
                else:
                    folders.append(path)
    with_images = {file.partition(os.sep)[0] for file in files}
    skipped["folders without images"] = len(top_folders - with_images - {""})
    return sorted(files), describe_skipped(skipped)


def why_skipped(entry: os.DirEntry) -> str | None:
    """What kind of entry is skipped, in the plural; None for an image or a folder.

    '' for hidden files that are no images, which are not reported.
    """
    if is_folder(entry):
        name = entry.name.lower()
        is_class = not any(fnmatch.fnmatchcase(name, p) for p in NOT_CLASSES)
        return None if is_class else f"folders {printable(entry.name)}"
    is_image = entry.name.lower().endswith(EXTENSIONS)
    if entry.name.startswith("."):
        return "hidden images" if is_image else ""
    if is_image:
        return None
    ending = os.path.splitext(entry.name)[1].lower()
    return f"{printable(ending)} files" if ending else "other files"


def is_run(folder: str) -> bool:
    """Whether a folder is a run of train.py, whose images are samples."""
    names = "config.json", "checkpoints"
    return all(os.path.exists(os.path.join(folder, name)) for name in names)


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or a link to one.

    False for a link to itself, of which `entry.is_dir()` raises OSError."""
    return entry.is_dir(follow_symlinks=False) or (
        entry.is_symlink() and os.path.isdir(entry)
    )


def describe_skipped(skipped: collections.Counter) -> str:
    """Such as '3 hidden images, 1 .txt files', the most frequent first."""
    kinds = [(num, kind) for kind, num in skipped.items() if num and kind]
    kinds.sort(key=lambda item: (-item[0], item[1]))
    listed = [f"{num} {kind}" for num, kind in kinds[:KINDS]]
    if len(kinds) > KINDS:
        listed.append(f"{sum(num for num, _ in kinds[KINDS:])} others")
    return ", ".join(listed)


def class_of(file: str) -> str | None:
    """Name of the class whose folder a file lies in, None for a file in none."""
    folder, _, below = file.partition(os.sep)
    return class_name(folder) if below else None


def find_classes(files: list[str]) -> tuple[str, ...]:
    """Names of the class folders of files, sorted; as numbers where all are."""
    names = {class_of(file) for file in files} - {None}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
