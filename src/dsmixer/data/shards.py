"""Labelled images in tar files of the WebDataset layout: ``00000007.jpg`` beside ``00000007.cls``.

Members are read where they lie, by offset: nothing is ever extracted, and any row at once, so that a resume is exact.
``index.json`` says where they lie; it is made when it is missing.
"""

import json
import os
import re
import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from dsmixer.data.folder import SPLITS, SUFFIXES, listing, split_of
from dsmixer.data.source import MAX_BYTES, Encoded, Source, numbers, too_large

INDEX, CLASSES, VERSION = "index.json", "classes.txt", 1
COMPRESSED = (".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2")
MAX_LABEL = 1 << 20  # bytes of a .cls or .json member
KEY = re.compile(r"((?:.*/)?[^./][^/.]*)\.([^/]+)")  # webdataset's: a sample's members agree up to the first dot
Table = dict[str, Any]  # of one shard: file, bytes, and the columns names, offsets, sizes, labels


class ShardImages(Encoded):
    """One split."""

    def __init__(self, root: str, tables: list[Table], classes: list[str]) -> None:
        import pyarrow as pa

        self.root, self.classes, self.files = root, classes, [table["file"] for table in tables]
        names = [name for table in tables for name in table["names"]]
        # packed in a random order, for readers that go through a shard from front to back; here as in the source
        order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
        shard = np.repeat(np.arange(len(tables), dtype=np.int32), [len(table["names"]) for table in tables])
        # members are read by offset: names are only said, and bytes that are not UTF-8 become ?
        said = [names[place].encode(errors="replace") for place in order]
        self.names: Any = pa.array(said, pa.large_string())
        self.shard, self.labels = shard[order], _column(tables, "labels")[order]
        self.offsets, self.sizes = _column(tables, "offsets")[order], _column(tables, "sizes")[order]

    def name(self, row: int) -> str:
        """Shard and member."""
        return f"{self.files[self.shard[row]]}/{self.names[row].as_py()}"

    def read(self, row: int) -> bytes:
        """The member's bytes."""
        size, offset = int(self.sizes[row]), int(self.offsets[row])
        if size > MAX_BYTES:
            raise ValueError(f"{self.name(row)}: {too_large(size)}")
        try:
            with open(os.path.join(self.root, self.files[self.shard[row]]), "rb", buffering=0) as file:
                data = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise ValueError(f"{self.name(row)}: cannot be read ({error.strerror})") from error
        if len(data) != size:
            raise ValueError(f"{self.name(row)}: the shard ends within it")
        return data


def open_shards(root: str) -> tuple[dict[str, Source], list[str]]:
    """Every split, labels by class name in the order of train; and notes."""
    files, notes = find_shards(root), []
    path = os.path.join(root, INDEX)
    if os.path.exists(path):
        index = read_index(path)
    else:
        index = make_index(root, files, None, notes)
        try:
            write_index(path, index)
            notes.append(f"{path} was missing and has been made")
        except OSError as error:
            notes.append(f"{path} is missing, and cannot be kept for the next time ({error.strerror})")
    check_index(root, files, index)
    return {split: ShardImages(root, tables, index["classes"]) for split, tables in index["splits"].items()}, notes


def find_shards(root: str) -> dict[str, list[str]]:
    """Tar files by split: by a word of their name, or by the folder they lie in; otherwise train."""
    found: dict[str, list[str]] = {}
    folders, files = listing(root)
    inner = {os.path.join(name, file): split for name in folders if (split := split_of(name))
             for file in listing(os.path.join(root, name))[1]}  # fmt: skip
    for name, split in {**dict.fromkeys(files), **inner}.items():
        if name.endswith(COMPRESSED):
            raise ValueError(
                f"{os.path.join(root, name)} is compressed, so nothing in it can be found; unpack it to .tar"
            )
        if name.endswith(".tar"):
            words = [SPLITS[word] for word in re.split(r"[-_.\d]+", name.lower()) if word in SPLITS]
            found.setdefault(split or (words[0] if words else "train"), []).append(name)
    if "train" not in found:
        raise ValueError(f"{root} holds shards of {', '.join(found) or 'nothing'}; expected train-000000.tar and so on")
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def make_index(root: str, files: dict[str, list[str]], classes: list[str] | None, notes: list[str]) -> Table:
    """Where every image lies, from the headers of the tar files. ``classes``, or classes.txt, names numbered labels."""
    splits = {split: [_shard(root, name, notes) for name in names] for split, names in files.items()}
    labels = {split: {label for table in tables for label in table["labels"]} for split, tables in splits.items()}
    numbered = all(label.isascii() and label.isdigit() for label in set.union(*labels.values()))
    path = os.path.join(root, CLASSES)
    if classes is None and numbered and os.path.isfile(path):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            classes = file.read().removesuffix("\n").split("\n")
    if classes is None:
        called = sorted(labels["train"], key=int if numbered else None)
        if numbered:
            notes.append(f"classes are called by their numbers; a file {CLASSES}, one name a line, would name them")
    else:
        called = [str(number) for number in range(len(classes))]
    for split, tables in splits.items():
        place = dict(zip(labels[split], numbers(labels[split], called, f"{split} of {root}"), strict=True))
        for table in tables:
            table["labels"] = [place[label] for label in table["labels"]]
    return {"version": VERSION, "classes": called if classes is None else classes, "splits": splits}


def write_index(path: str, index: Table) -> None:
    """Put it there wholly or not at all; several processes may."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(index, file, separators=(",", ":"))
    os.replace(temporary, path)


def read_index(path: str) -> Table:
    """As it lies there."""
    try:
        with open(path, encoding="utf-8") as file:
            index = json.load(file)
        if index["version"] != VERSION:
            raise ValueError(f"version {index['version']}, expected {VERSION}")
        return index
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable index ({error}); delete it, and it is made anew") from error


def check_index(root: str, files: dict[str, list[str]], index: Table) -> None:
    """``ValueError`` unless it is about just these files, as long as they are now, and points inside them."""
    try:
        known = {split: [table["file"] for table in tables] for split, tables in index["splits"].items()}
        if known != files:
            raise ValueError("it is about other files than those that lie there")
        if not all(isinstance(name, str) for name in index["classes"]) or not index["classes"]:
            raise ValueError("class names are missing")
        for table in (table for tables in index["splits"].values() for table in tables):
            _check_table(root, table, len(index["classes"]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError) as error:
        path = os.path.join(root, INDEX)
        raise ValueError(f"{path} does not fit: {error}; delete it, and it is made anew") from error


def _check_table(root: str, table: Table, classes: int) -> None:
    path = os.path.join(root, table["file"])
    if os.path.getsize(path) != table["bytes"]:
        raise ValueError(f"{path} has {os.path.getsize(path):,} bytes, expected {table['bytes']:,}")
    offsets, sizes, labels = (np.asarray(table[name]) for name in ("offsets", "sizes", "labels"))
    if not len(offsets) == len(sizes) == len(labels) == len(table["names"]):
        raise ValueError(f"the columns of {table['file']} differ in length")
    if not len(labels):
        return
    if not all(isinstance(name, str) for name in table["names"]):
        raise ValueError(f"a member of {table['file']} has no name")
    if any(column.dtype.kind != "i" for column in (offsets, sizes, labels)):
        raise ValueError(f"a column of {table['file']} holds something other than whole numbers")
    inside = offsets.min() >= 0 and sizes.min() >= 0 and (offsets <= table["bytes"] - sizes).all()
    if not inside or not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"an entry of {table['file']} points outside the file or the classes")


def _shard(root: str, name: str, notes: list[str]) -> Table:
    """The images of one tar file, and their labels as they stand there."""
    table: Table = {"file": name, "bytes": 0, "names": [], "offsets": [], "sizes": [], "labels": []}
    path = os.path.join(root, name)
    try:
        table["bytes"] = os.path.getsize(path)
        with tarfile.open(path, "r:") as tar:
            for key, members in _samples(tar, notes, name):
                image = next((m for ext, m in members.items() if f".{ext.rpartition('.')[2]}" in SUFFIXES), None)
                if image is not None:
                    table["names"].append(image.name)
                    table["offsets"].append(image.offset_data)
                    table["sizes"].append(image.size)
                    table["labels"].append(_label(tar, key, members))
    except (tarfile.TarError, OSError, EOFError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole tar file: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return table


def _samples(tar: tarfile.TarFile, notes: list[str], name: str) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Neighbouring members of one key, by extension; what is no plain file is left out."""
    key, members, odd, before = "", {}, 0, -1
    while (member := tar.next()) is not None:
        # tarfile before Python 3.11.14 goes in circles where a size is negative (CVE-2025-8194)
        if member.size < 0 or member.offset <= before:
            raise ValueError(f"{member.name} has {member.size} bytes")
        before = member.offset
        match = KEY.fullmatch(member.name)
        if not member.isreg() or member.issparse():
            odd += not member.isdir()
        elif match:
            if match[1] != key and members:
                yield key, members
                members = {}
            key = match[1]
            members[match[2].lower()] = member
    if members:
        yield key, members
    if odd:
        notes.append(f"{odd} members of {name} are links, devices or sparse files: left out")


def _label(tar: tarfile.TarFile, key: str, members: dict[str, tarfile.TarInfo]) -> str:
    """The class of a sample, a number or a name, from its .cls or .json."""
    for extension in ("cls", "json"):
        member = members.get(extension)
        if member is not None and member.size <= MAX_LABEL and (file := tar.extractfile(member)):
            text = file.read().decode("utf-8").strip()
            label = text if extension == "cls" else json.loads(text).get("label")
            if isinstance(label, str | int) and str(label).strip():
                return str(label).strip()
    raise ValueError(f"{key} has no label; expected {key}.cls, or {key}.json with a label")


def _column(tables: list[Table], name: str) -> np.ndarray:
    return np.concatenate([np.asarray(table[name], dtype=np.int64) for table in tables])
