"""Labelled images in tar shards, ``train-000000.tar`` and so on, read in place with an index of where each one lies.

The index, ``index.json``, names the classes and the shards with their sizes; for every image it has the shard, the
member, where its bytes begin, how many they are, and the label. Any image is one seek away, so that order is free and a
resumed run exact. Shards without an index are looked through once. The shards themselves are plain WebDataset.
"""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsmixer.data.folder import SPLITS, listing
from dsmixer.data.source import MAX_BYTES, Encoded, Source
from dsmixer.data.tars import samples

FORMAT, INDEX, CLASSES = "dsmixer shards 1", "index.json", "classes.txt"
MAX_CLASSES = 1_000_000


class Table(NamedTuple):
    """The images of a split: names of shards and their bytes; for each image its shard, member, place and label."""

    shards: list[str]
    bytes: list[int]
    shard: list[int]
    member: list[str]
    offset: list[int]
    size: list[int]
    label: list[int]


class ShardImages(Encoded):
    """One split. Shards are opened for every image: that costs little beside decoding, and suits forked workers."""

    def __init__(self, root: str, table: Table, classes: list[str]) -> None:
        import pyarrow as pa

        self.root, self.classes, self.shards = root, classes, table.shards
        self.shard, self.offset = np.array(table.shard, np.int32), np.array(table.offset, np.int64)
        self.size, self.labels = np.array(table.size, np.int64), np.array(table.label, np.int64)
        self.members: Any = pa.array(map(os.fsencode, table.member), pa.large_binary())  # one block for all workers

    def name(self, row: int) -> str:
        """Its shard and member."""
        member = os.fsdecode(self.members[row].as_py()).encode(errors="replace").decode()
        return f"{self.shards[self.shard[row]]}/{member}"

    def read(self, row: int) -> bytes:
        """Its part of the shard."""
        size = int(self.size[row])
        if size > MAX_BYTES:
            raise ValueError(
                f"{self.name(row)}: {size / 1e6:,.0f} MB, more than {MAX_BYTES / 1e6:g} MB; refused unread"
            )
        try:
            with open(os.path.join(self.root, self.shards[self.shard[row]]), "rb") as file:
                file.seek(int(self.offset[row]))
                data = file.read(size)
        except OSError as error:
            raise ValueError(f"{self.name(row)}: cannot be read ({error.strerror})") from error
        if len(data) < size:
            raise ValueError(f"{self.name(row)}: the shard ends before the image does")
        return data


def find_shards(root: str) -> dict[str, list[str]]:
    """The shards of each split, by the word train, val or test in their names, else all of train; reads names only."""
    found: dict[str, list[str]] = {}
    for name in listing(root)[1]:
        if name.endswith(".tar"):
            words = [SPLITS[word] for word in re.split(r"[-_.]", name.lower()) if word in SPLITS]
            found.setdefault(words[0] if words else "", []).append(name)
    unnamed = found.pop("", [])
    if unnamed and found:
        raise ValueError(f"{root} has shards of {', '.join(found)} and {unnamed[0]}, whose name says no split")
    if unnamed:
        found = {"train": unnamed}
    if "train" not in found:
        there = f"shards of {', '.join(found)}" if found else "no shard"
        raise ValueError(f"{root} holds {there}; expected train-000000.tar and so on, and perhaps val and test")
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def open_shards(root: str) -> tuple[dict[str, Source], list[str]]:
    """Every split of a folder of shards, and notes; an index that is missing is made, and left there if it can be."""
    found, notes = find_shards(root), []
    if os.path.exists(os.path.join(root, INDEX)):
        classes, tables = read_index(root, found)
    else:
        classes, tables = make_index(root, found, notes)
        try:
            write_index(Path(root), classes, tables)
        except OSError as error:
            notes.append(f"no {INDEX} is left in {root} ({error.strerror}): the shards are looked through every time")
    sources: dict[str, Source] = {split: ShardImages(root, table, classes) for split, table in tables.items()}
    return sources, notes


def make_index(root: str, found: dict[str, list[str]], notes: list[str]) -> tuple[list[str], dict[str, Table]]:
    """Look through shards; numbers are places in classes.txt where there is one, names are numbered as they sort."""
    skipped: Counter[str] = Counter()
    rows = {}
    for split, names in found.items():
        every = [(number, sample) for number, name in enumerate(names) for sample in samples(Path(root, name), skipped)]
        rows[split] = sorted(every, key=lambda row: row[1].member)  # as `dsmixer pack` numbers them
    if skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common(5))
        notes.append(f"{skipped.total():,} members of shards are no labelled images ({kinds}): left out")
    if not rows["train"]:
        raise ValueError(f"{root}: no image in {', '.join(found['train'][:3])}; expected KEY.jpg and KEY.cls")
    classes = _classes(Path(root, CLASSES), [sample.label for _, sample in rows["train"]], notes)
    places = {name: place for place, name in enumerate(classes)}
    tables = {}
    for split, names in found.items():
        entries = [sample for _, sample in rows[split]]
        for entry in entries:
            known = 0 <= entry.label < len(classes) if isinstance(entry.label, int) else entry.label in places
            if not known:
                raise ValueError(f"{entry.member} of {split} has the label {entry.label!r}, which train does not have")
        tables[split] = Table(
            shards=names,
            bytes=[os.path.getsize(os.path.join(root, name)) for name in names],
            shard=[number for number, _ in rows[split]],
            member=[entry.member for entry in entries],
            offset=[entry.offset for entry in entries],
            size=[entry.size for entry in entries],
            label=[entry.label if isinstance(entry.label, int) else places[entry.label] for entry in entries],
        )
    return classes, tables


def _classes(path: Path, train: list[int | str], notes: list[str]) -> list[str]:
    if path.is_file():
        return path.read_text("utf-8", "surrogateescape").split("\n")[:-1]
    names = sorted({label for label in train if isinstance(label, str)})
    if names and any(isinstance(label, int) for label in train):
        raise ValueError(f"{path.parent}: some labels are names ({names[0]!r}) and some are numbers; expected either")
    if names:
        return names
    highest = max(int(label) for label in train)
    if highest >= MAX_CLASSES:
        raise ValueError(f"{path.parent}: the label {highest} is beyond {MAX_CLASSES:,} classes")
    notes.append(f"the shards come without {CLASSES}: classes are called by their numbers")
    return [str(number) for number in range(highest + 1)]


def write_index(root: Path, classes: list[str], tables: dict[str, Table]) -> None:
    """index.json, wholly or not at all."""
    splits = {split: table._asdict() for split, table in tables.items()}
    content = {"format": FORMAT, "classes": classes, "splits": splits}
    temporary = root / f"{INDEX}.{os.getpid()}.tmp"
    try:
        with temporary.open("w") as file:
            json.dump(content, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, root / INDEX)
    finally:
        temporary.unlink(missing_ok=True)


def read_index(root: str, found: dict[str, list[str]]) -> tuple[list[str], dict[str, Table]]:
    """Classes and tables of index.json; ``ValueError`` where it does not fit the shards that are ``found``."""
    path = Path(root, INDEX)
    try:
        content = json.loads(path.read_bytes())
        classes, splits = content["classes"], content["splits"]
        if content["format"] != FORMAT or not all(isinstance(name, str) for name in classes):
            raise ValueError(f"expected the format {FORMAT!r}")
        if set(splits) != set(found):
            raise ValueError(f"it has the splits {', '.join(splits)}, but there are shards of {', '.join(found)}")
        tables = {split: Table(**splits[split]) for split in found}
        for split, table in tables.items():
            _check(root, found[split], table, len(classes))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = str(error) if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} does not fit these shards ({reason}); remove it, and it is made anew") from error
    return classes, tables


def _check(root: str, names: list[str], table: Table, num_classes: int) -> None:
    """Raise ``ValueError`` unless every image lies within a shard that is there and has a class."""
    if sorted(table.shards) != names:  # names of a listing, so never a path that leads elsewhere
        odd = sorted(set(table.shards) ^ set(names)) or table.shards
        raise ValueError(f"{odd[0]} is only in one of them")
    for name, size in zip(table.shards, table.bytes, strict=True):
        if (there := os.path.getsize(os.path.join(root, name))) != size:
            raise ValueError(f"{name} has {there:,} bytes, not {size:,}")
    columns = (table.shard, table.offset, table.size, table.label)
    shard, offset, size, label = (np.array(column, np.int64) for column in columns)
    if not len(shard) == len(offset) == len(size) == len(label) == len(table.member):
        raise ValueError("its columns differ in length")
    if not len(shard):
        return
    if shard.min() < 0 or shard.max() >= len(names) or label.min() < 0 or label.max() >= num_classes:
        raise ValueError("a shard or a class is beyond the last")
    if offset.min() < 0 or size.min() < 0 or (offset > np.array(table.bytes)[shard] - size).any():
        raise ValueError("an image lies beyond the end of its shard")
