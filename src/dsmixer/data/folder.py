"""Labelled images in class folders: ``root/cat/1.jpg``, or ``root/train/cat/1.jpg`` and ``root/val/cat/2.jpg``.

Everything is sorted by name, so the order of the file system never matters, and found by ``os.scandir`` alone: no file
is looked at before it is read. Classes are numbered as torchvision and timm number those of train.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dsmixer.data.source import Encoded, Source, numbers, read_file

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class FolderImages(Encoded):
    """One split: paths below ``root``, kept in one buffer, which worker processes share with this one."""

    def __init__(self, root: str, paths: list[str], labels: np.ndarray, classes: list[str]) -> None:
        import pyarrow as pa

        self.root, self.labels, self.classes = root, labels, classes
        self.paths: Any = pa.array(map(os.fsencode, paths), pa.large_binary())

    def name(self, row: int) -> str:
        """Its path below the root."""
        return os.fsdecode(self.paths[row].as_py()).encode(errors="replace").decode()

    def read(self, row: int) -> bytes:
        """The file."""
        return read_file(os.path.join(self.root, os.fsdecode(self.paths[row].as_py())), self.name(row))


def open_folder(root: str, to_train: bool = True) -> tuple[dict[str, Source], list[str]]:
    """Every split of a root, labels by class name in the order of train; and notes on what was left out.

    Unless it is ``to_train``, train may be missing: then it is empty, and the classes are those of the others together.
    """
    notes: list[str] = []
    skipped: Counter[str] = Counter()
    splits = split_folders(root, notes)
    within = splits or {"train": ""}
    if to_train and "train" not in within:
        raise ValueError(f"{root} has the split {', '.join(within)}, but no train")
    found = {split: _class_files(root, folder, skipped, notes) for split, folder in within.items()}
    classes = list(found["train"]) if "train" in found else sorted({name for files in found.values() for name in files})
    if not splits and {name.lower() for name in classes} <= set(SPLITS):
        raise ValueError(f"{root} has no class folders in {', '.join(classes)}; {classes[0]}/CLASS/ is expected")
    nothing = FolderImages(root, [], np.empty(0, np.int64), classes)
    sources: dict[str, Source] = {} if "train" in found else {"train": nothing}
    for split, files in found.items():
        place = numbers(files, classes, os.path.join(root, within[split]))
        labels = np.repeat(np.array(place, dtype=np.int64), [len(paths) for paths in files.values()])
        sources[split] = FolderImages(root, [path for paths in files.values() for path in paths], labels, classes)
    if skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common(5))
        notes.append(f"{skipped.total():,} files are no images by their names ({kinds}): left out")
    return sources, notes


def split_folders(root: str, notes: list[str] | None = None) -> dict[str, str]:
    """The folder of each split; none where the class folders lie directly in ``root``.

    A folder is a split by its name and because folders lie in it: "train" may also be a class, beside "bus" and "car".
    """
    folders = listing(root)[0]
    found = by_split(root, [name for name in folders if split_of(name) and listing(os.path.join(root, name))[0]])
    if found and notes is not None and (others := [name for name in folders if name not in found.values()]):
        notes.append(f"{', '.join(others[:5])} beside {', '.join(found.values())} is no split: left out")
    return found


def split_of(name: str) -> str | None:
    """The split that a name means, in any case."""
    return SPLITS.get(name.lower())


def by_split(where: str, folders: list[str]) -> dict[str, str]:
    """The folder of each split, train first; others are left out. ``ValueError`` where a split has two."""
    found: dict[str, str] = {}
    for split in dict.fromkeys(SPLITS.values()):
        names = [name for name in folders if split_of(name) == split]
        if len(names) > 1:
            raise ValueError(f"{where} has two folders for {split}: {' and '.join(names[:2])}; keep one")
        if names:
            found[split] = names[0]
    return found


def listing(folder: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a folder, each sorted; hidden ones, and macOS's remains, left out."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_dir():
                    if not (entry.is_symlink() and _leads_back(entry.path, folder)):
                        folders.append(entry.name)
                elif entry.is_file() or entry.is_symlink():  # a link that leads nowhere is a file that cannot be read
                    files.append(entry.name)
    except OSError as error:
        raise ValueError(f"{folder} cannot be listed: {error.strerror}") from error
    return sorted(folders), sorted(files)


def is_image(name: str) -> bool:
    """By its suffix."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _leads_back(link: str, folder: str) -> bool:
    """Whether a link leads to a folder that it lies in."""
    here = Path(os.path.abspath(folder))
    return os.path.realpath(link) in {os.path.realpath(path) for path in (here, *here.parents)}


def _class_files(root: str, split: str, skipped: Counter[str], notes: list[str]) -> dict[str, list[str]]:
    """Paths below the root by class, in the order of the names; classes without any left out."""
    where = os.path.join(root, split)
    folders, files = listing(where)
    loose = sum(map(is_image, files))
    if not folders:
        raise ValueError(f"{where} holds no class folders" + (f", but {loose:,} images" if loose else ""))
    if loose:
        notes.append(f"{loose:,} images directly in {where} belong to no class: left out")
    found = {name: list(_images_below(root, os.path.join(split, name), skipped)) for name in folders}
    if empty := [name for name, paths in found.items() if not paths]:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        notes.append(f"no images in {', '.join(os.path.join(split, name) for name in empty[:5])}{more}: no class")
    if len(empty) == len(found):
        raise ValueError(f"{where} has folders, but no images in them; known are {', '.join(sorted(SUFFIXES))}")
    return {name: paths for name, paths in found.items() if paths}


def _images_below(root: str, folder: str, skipped: Counter[str]) -> Iterator[str]:
    folders, files = listing(os.path.join(root, folder))
    for name in files:
        if is_image(name):
            yield os.path.join(folder, name)
        else:
            skipped[os.path.splitext(name)[1].lower() or "without suffix"] += 1
    for name in folders:
        yield from _images_below(root, os.path.join(folder, name), skipped)
