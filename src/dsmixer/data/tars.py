"""Tar shards in the WebDataset layout, looked through without unpacking them.

A sample is the members of one key, the part of a name before the first dot: ``0001.jpg`` with its label in
``0001.cls``, or in ``0001.json`` as {"label": ...}. Members are only ever read in place. Their names are never used as
paths, and links, devices and sparse files are passed over.
"""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dsmixer.data.folder import SUFFIXES

MAX_LABEL_BYTES = 65_536  # of one .cls or .json


class Sample(NamedTuple):
    """Where the bytes of an image lie in its tar, and its label: a number, or a name."""

    member: str
    offset: int
    size: int
    label: int | str


def samples(path: Path, skipped: Counter[str]) -> list[Sample]:
    """The labelled images of a tar, in its order; what is passed over is counted by kind in ``skipped``."""
    images: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, dict[str, tuple[int, int]]] = {}
    for name, offset, size in _members(path, skipped):
        folder, _, base = name.rpartition("/")
        key, _, kind = base.partition(".")
        key, kind = f"{folder}/{key}", kind.lower()
        if f".{kind}" in SUFFIXES:
            if key in images:
                raise ValueError(f"{path} has two images of the key {key.strip('/')}: {images[key][0]} and {name}")
            images[key] = (name, offset, size)
        elif kind in ("cls", "json"):
            labels.setdefault(key, {})[kind] = (offset, size)
        else:
            skipped[f".{kind}"] += 1
    with path.open("rb") as file:
        found = []
        for key, (name, offset, size) in images.items():
            data = {kind: _read(file, *place) for kind, place in labels.get(key, {}).items()}
            found.append(Sample(name, offset, size, _label(data, f"{path}/{name}")))
    return found


def _members(path: Path, skipped: Counter[str]) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of the ordinary files in a tar; ``ValueError`` for one that is damaged or compressed."""
    length, before = path.stat().st_size, -1
    for member in _entries(path):
        # tarfile before Python 3.11.14 goes in circles where a size is negative (CVE-2025-8194)
        if member.size < 0 or member.offset <= before:
            raise ValueError(f"{path} is a damaged tar: {member.name!r} has a size of {member.size} bytes")
        before = member.offset
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            skipped["links, devices and sparse files"] += 1
        elif member.offset_data + member.size > length:
            raise ValueError(f"{path} is cut short: {member.name!r} goes beyond its end")
        else:
            yield member.name, member.offset_data, member.size


def _entries(path: Path) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield from tar
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable tar, or a compressed one: {error}") from error


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    if size > MAX_LABEL_BYTES:
        raise ValueError(f"{file.name}: a label of {size:,} bytes")
    file.seek(offset)
    return file.read(size)


def _label(data: dict[str, bytes], name: str) -> int | str:
    """The label in a .cls, else under "label" or "cls" in a .json."""
    label = None
    try:
        if "cls" in data:
            text = data["cls"].decode().strip()
            label = int(text) if text.isdecimal() else text
        elif "json" in data:
            content = json.loads(data["json"])
            label = next((content[key] for key in ("label", "cls") if key in content), None)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{name}: its label cannot be read ({error})") from error
    if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
        raise ValueError(f'{name} has no label: expected one of the same key in .cls, or as {{"label": ...}} in .json')
    return label
