"""Labelled images named in a CSV file: columns path and label, and perhaps split.

One file with a column ``split`` (or without: then val and test are carved), or ``train.csv`` beside ``val.csv`` and
``test.csv``. Paths are relative to the file's folder and stay inside it, unless that is allowed otherwise.
"""

import csv
import os
from typing import Any, NamedTuple

import numpy as np

from dsmixer.data.folder import listing, split_of
from dsmixer.data.source import Encoded, Source, numbers, read_file

COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "image", "filepath", "image_path"),
    "label": ("label", "class", "category", "target"),
    "split": ("split", "set", "subset"),
}
SUFFIXES = (".csv", ".tsv")


class Line(NamedTuple):
    """One image as the file names it."""

    path: str
    label: str
    split: str


class CsvImages(Encoded):
    """One split. A path that leads outside ``root``, by a link too, cannot be read unless ``allow_outside``."""

    def __init__(
        self, root: str, paths: list[str], labels: np.ndarray, classes: list[str], allow_outside: bool
    ) -> None:
        import pyarrow as pa

        self.root, self.labels, self.classes, self.allow_outside = (
            os.path.realpath(root),
            labels,
            classes,
            allow_outside,
        )
        self.paths: Any = pa.array(paths, pa.large_string())

    def name(self, row: int) -> str:
        """The path, as the file has it."""
        return self.paths[row].as_py()

    def read(self, row: int) -> bytes:
        """The file."""
        name = self.name(row)
        path = os.path.join(self.root, name)
        if not self.allow_outside and not os.path.realpath(path).startswith(os.path.join(self.root, "")):
            raise ValueError(
                f"{name}: leads outside {self.root}; allow it with --data.allow_outside true "
                "(dsmixer check and pack: --allow-outside)"
            )
        return read_file(path, name)


def open_csv(root: str, allow_outside: bool) -> tuple[dict[str, Source], list[str]]:
    """Every split, classes sorted by name; ``root`` is a CSV file, or the folder that holds it."""
    lines = [line for path, split in find_csv(root).items() for line in read_lines(path, split)]
    by_split: dict[str, list[Line]] = {split: [] for split in ("train", "val", "test")}
    for line in lines:
        by_split[line.split].append(line)
    if not by_split["train"]:
        raise ValueError(f"{root} names no training images")
    folder = root if os.path.isdir(root) else os.path.dirname(root) or "."
    classes = sorted({line.label for line in by_split["train"]})
    sources: dict[str, Source] = {}
    for split, part in by_split.items():
        if part:
            labels = np.array(numbers([line.label for line in part], classes, f"{split} of {root}"), dtype=np.int64)
            sources[split] = CsvImages(folder, [line.path for line in part], labels, classes, allow_outside)
    return sources, []


def find_csv(root: str) -> dict[str, str | None]:
    """The CSV files with the columns path and label, each with its split if its name says one."""
    if os.path.isfile(root):
        return {root: None}
    found: dict[str, str | None] = {}
    for name in listing(root)[1]:
        stem, suffix = os.path.splitext(name)
        path = os.path.join(root, name)
        if suffix.lower() in SUFFIXES and {"path", "label"} <= set(_columns(path)):
            found[path] = split_of(stem)
    if any(found.values()):
        return {path: split for path, split in found.items() if split}
    if len(found) > 1:
        names = ", ".join(map(os.path.basename, found))
        raise ValueError(f"{root} holds several lists of images ({names}); give one of them as --data.root")
    return found


def read_lines(path: str, split: str | None) -> list[Line]:
    """The images of one file; ``ValueError`` naming the line that is wrong."""
    columns = _columns(path)
    if missing := {"path", "label"} - set(columns):
        known = ", ".join(COLUMNS[min(missing)])
        raise ValueError(f"{path} has no column {min(missing)} in its first line; expected one called {known}")
    lines = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=_delimiter(path))
            next(reader)
            for cells in reader:
                if cells:
                    lines.append(_line(cells, columns, split, f"{path}, line {reader.line_num}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a readable CSV file: {error}") from error
    return lines


def _line(cells: list[str], columns: dict[str, int], split: str | None, where: str) -> Line:
    if len(cells) <= max(columns.values()):
        raise ValueError(f"{where}: {len(cells)} cells, expected at least {max(columns.values()) + 1}")
    found = {name: cells[place].strip() for name, place in columns.items()}
    for name in ("path", "label"):
        if not found[name] or "\0" in found[name]:
            raise ValueError(f"{where}: no {name}")
    said = split or split_of(found.get("split", "train"))
    if said is None:
        raise ValueError(f"{where}: split is {found['split']!r}, expected train, val or test")
    return Line(found["path"], found["label"], said)


def _columns(path: str) -> dict[str, int]:
    """Places of the columns we know, by our names for them."""
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            header = next(csv.reader([file.readline(1 << 16)], delimiter=_delimiter(path)), [])
    except (OSError, csv.Error) as error:
        raise ValueError(f"{path} is not a readable CSV file: {error}") from error
    words = [word.strip().lower() for word in header]
    return {
        name: next(words.index(word) for word in known if word in words)
        for name, known in COLUMNS.items()
        if set(known) & set(words)
    }


def _delimiter(path: str) -> str:
    """Comma, semicolon or tab: the one that the first line has most of."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(1 << 16)
    return max(",;\t", key=first.count)
