"""The names of the classes of masks, from the files that stand beside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsmixer.data.source import read_text


def class_file(root: str | Path) -> Path | None:
    """Where the names of the classes stand, if anywhere."""
    return next((file for name in CLASS_FILES if (file := Path(root) / name).is_file()), None)


def read_classes(root: str | Path, given: Sequence[str] | None) -> list[str]:
    """Names in the order of the indices: those given, or of the first of `CLASS_FILES` that is there; both must agree.

    A text file has one a line. The JSON is a list of names, or an object from index to name. ADE20K's table has tabs
    between an index from 1, some numbers, and the name, which comes last.
    """
    names, path, where = list(given or []), class_file(root), "the list of classes"
    if path is None and not names:
        raise ValueError(f"{root} holds none of {', '.join(CLASS_FILES)}; write one class name a line, in order")
    if path is not None:
        where = str(path)
        there = CLASS_FILES[path.name](read_text(path).strip(), where)
        if names and names != there:
            raise ValueError(
                f"{where} names the classes {_few(there)}, but masks.classes {_few(names)}; "
                "masks.classes null takes those of the file"
            )
        names = there
    if "" in names:  # dropping it would renumber the classes behind it
        raise ValueError(f"{where} has no name for class {names.index('')}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where} has {twice[0]!r} twice; every class needs a name of its own")
    if len(names) < 2:
        raise ValueError(f"{where} names {len(names)} classes; at least 2 are needed, background counts as one")
    return names


def _few(names: list[str]) -> str:
    return f"{', '.join(names[:4])}{' ...' if len(names) > 4 else ''} ({len(names)})"


def _from_lines(text: str, where: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def _from_table(text: str, where: str) -> list[str]:
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    if [row[0].strip() for row in rows] != [str(number) for number in range(1, len(rows) + 1)]:
        raise ValueError(f"{where} is not ADE20K's table: expected a heading, and rows that are numbered from 1")
    return [row[-1].strip() for row in rows]


def _from_json(text: str, where: str) -> list[str]:
    expected = 'expected ["road", "sky"] or {"0": "road", "1": "sky"}'
    try:
        value: Any = json.loads(text)
        if isinstance(value, dict):
            value = [value[str(index)] for index in range(len(value))]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{where} is no list of names ({error!r}); {expected}") from error
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{where} is no list of names; {expected}")
    return value


CLASS_FILES = {"classes.txt": _from_lines, "classes.json": _from_json, "objectInfo150.txt": _from_table}
