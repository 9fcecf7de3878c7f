"""Labelled images in parquet files, as Hugging Face ``datasets`` writes them.

An image column of {bytes, path}, an integer label column, and the class names in the schema's metadata. Files are named
``train.parquet`` or ``train-00000-of-00002.parquet``. The encoded bytes stay in memory, decoded when asked for; a split
that is too large for that is read by row group, the smallest part of a parquet file that can be.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from dsmixer.data.folder import split_of
from dsmixer.data.source import Encoded, Source, machine_memory, numbers

NO_LABEL = -1  # Hugging Face's
FILE_NAME = re.compile(r"(?P<split>\w+?)(-(?P<shard>\d+)-of-(?P<shards>\d+)(-[0-9a-f]+)?)?\.parquet")


def find_files(root: str) -> dict[str, list[Path]]:
    """The files of each split in ``root``, shards in order; reads names only, so it answers at once."""
    folder = Path(root)
    if not folder.is_dir():
        raise ValueError(f"{root} is not a folder; expected one with train.parquet and test.parquet")
    found: dict[str, list[Path]] = {}
    called: dict[str, str] = {}
    for path in sorted(folder.glob("*.parquet")):
        match = FILE_NAME.fullmatch(path.name)
        if match:
            split = split_of(match["split"]) or match["split"]
            if called.setdefault(split, match["split"]) != match["split"]:
                raise ValueError(f"{root} has two names for {split}: {called[split]} and {match['split']}; keep one")
            found.setdefault(split, []).append(path)
            shards = match["shards"]
            if shards and len(list(folder.glob(f"{match['split']}-*-of-{shards}*.parquet"))) != int(shards):
                raise ValueError(f"{root} lacks shards of {match['split']}: {path.name} says there are {int(shards)}")
    if "train" not in found:
        there = ", ".join(sorted(found)) or "no parquet file named after a split"
        raise ValueError(f"{root} holds {there}; expected train, and perhaps test or val: train.parquet, test.parquet")
    return found


class ParquetImages(Encoded):
    """One split. Pickles as its file names: a worker process reads them again instead of receiving the bytes.

    ``limit`` is how many bytes may stay in memory; by default a quarter of what the machine has.
    """

    def __init__(self, files: list[Path], classes: list[str] | None = None, limit: int | None = None) -> None:
        self.files = files
        schema = _schema(files[0])
        self.image_column, self.label_column, names = _features(schema, files[0])
        self.classes = classes if classes is not None else names
        by_name = np.array(numbers(names, self.classes, str(files[0])), dtype=np.int64)
        column = _columns(files, self.label_column)
        if column.null_count:
            row = column.is_null().index(True).as_py()
            raise ValueError(
                f"{self.name(row)} has no label: it is null, as of {column.null_count:,} rows of the split"
            )
        labels = column.to_numpy().astype(np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
            wrong = int(labels.min() if labels.min() < 0 else labels.max())
            raise ValueError(f"{files[0]} has label {wrong}, but names only {len(names)} classes")
        self.labels = by_name[labels]
        groups = RowGroups(files, self.image_column)
        fits = groups.bytes <= (machine_memory() // 4 if limit is None else limit)
        self.groups = None if fits else groups
        self.images: Any = _columns(files, self.image_column) if fits else groups

    def name(self, row: int) -> str:
        """The number of the row, and its split."""
        return f"row {row} of {self.files[0].parent / self.files[0].stem.split('-')[0]}"

    def read(self, row: int) -> bytes:
        """The cell's bytes."""
        try:
            cell = self.images[row].as_py()
        except ValueError as error:
            raise ValueError(f"{self.name(row)}: {error}") from error
        if not cell or not cell["bytes"]:
            raise ValueError(f"{self.name(row)}: no image bytes")
        return cell["bytes"]

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """All rows at random; where they are read by row group, the groups at random and the rows of each."""
        return super().order(generator) if self.groups is None else self.groups.order(generator)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "images"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.images = self.groups or _columns(self.files, self.image_column)


class RowGroups:
    """A column that stays on disk: a cell costs the reading of its row group; the last few are kept."""

    KEPT = 2

    def __init__(self, files: list[Path], column: str) -> None:
        import pyarrow.parquet as pq

        self.files, self.column = files, column
        self.places: list[tuple[int, int]] = []  # of each group: number of the file, and of the group in it
        rows, self.bytes = [0], 0
        for number, path in enumerate(files):
            metadata = pq.read_metadata(path)
            for group in range(metadata.num_row_groups):
                about = metadata.row_group(group)
                self.places.append((number, group))
                rows.append(about.num_rows)
                self.bytes += about.total_byte_size
        self.starts = np.cumsum(rows)  # of each group its first row, and at the end how many there are
        self._forget()

    def __getitem__(self, row: int) -> Any:
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self._group(group)[row - int(self.starts[group])]

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """Groups at random, and the rows of each at random."""
        groups = generator.permutation(len(self.places))
        return np.concatenate(
            [generator.permutation(np.arange(self.starts[group], self.starts[group + 1])) for group in groups]
        )

    def _group(self, group: int) -> Any:
        import pyarrow.parquet as pq

        with self.lock:
            if group not in self.kept:
                number, place = self.places[group]
                path = self.files[number]
                with _reading(path), pq.ParquetFile(path, memory_map=True) as file:
                    self.kept[group] = file.read_row_group(place, [self.column], use_threads=False).column(0)
                if len(self.kept) > self.KEPT:
                    self.kept.popitem(last=False)
            return self.kept[group]

    def _forget(self) -> None:
        self.kept, self.lock = OrderedDict[int, Any](), Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("kept", "lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


def open_parquet(root: str) -> tuple[dict[str, Source], list[str]]:
    """Every split of a folder, their labels numbered alike: by class name, in the order of train; and notes."""
    files = find_files(root)
    train = ParquetImages(files["train"])
    sources: dict[str, Source] = {"train": train}
    notes = []
    for split in ("val", "test"):
        if split in files and _unlabelled(files[split]):
            notes.append(f"{split} has no labels, all are {NO_LABEL} or null: left out")
        elif split in files:
            sources[split] = ParquetImages(files[split], train.classes)
    return sources, [*notes, *_too_large(sources)]


def _unlabelled(files: list[Path]) -> bool:
    """Whether the labels are kept back, as those of ImageNet-1k's test images are."""
    _, column, _ = _features(_schema(files[0]), files[0])
    labels = _columns(files, column)
    return len(labels) > 0 and bool((labels.drop_null().to_numpy() == NO_LABEL).all())


def _too_large(sources: dict[str, Any]) -> list[str]:
    """A note for each split that stays on disk."""
    return [
        f"{split}: {source.groups.bytes / 1e9:,.1f} GB of images are left on disk, where one can be read only together "
        f"with its row group, here of about {len(source.labels) // len(source.groups.places):,}; `dsmixer pack` makes "
        "shards, of which each image is read alone"
        for split, source in sources.items()
        if source.groups
    ]


def _columns(files: list[Path], column: str) -> Any:
    """A column of all files, in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # use_threads=False: worker processes are forked from this one, and Arrow's thread pool does not survive that
    tables = []
    for path in files:
        with _reading(path):
            tables.append(pq.read_table(path, columns=[column], use_threads=False, memory_map=True))
    return pa.concat_tables(tables).column(0)


def _schema(path: Path) -> Any:
    import pyarrow.parquet as pq

    with _reading(path):
        return pq.read_schema(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What Arrow cannot read is one sentence with the file's name."""
    from pyarrow.lib import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable parquet file: {' '.join(str(error).split())}") from error


def _features(schema: Any, path: Path) -> tuple[str, str, list[str]]:
    """Names of the image and the label column, and of the classes, from the metadata Hugging Face writes."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} has no class names: expected Hugging Face's features in its schema metadata, as `datasets` writes "
            "them (features Image and ClassLabel, then to_parquet); or give class folders, or a CSV with path and label"
        ) from error
    images = [name for name, feature in features.items() if feature.get("_type") == "Image"]
    labels = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    if len(images) != 1 or not labels or (len(labels) > 1 and "label" not in labels):
        raise ValueError(
            f"{path} has image columns {images} and label columns {labels}; expected one of each, with `datasets` an "
            "Image and a ClassLabel (class_encode_column makes one of text)"
        )
    label = "label" if "label" in labels else labels[0]
    return images[0], label, features[label]["names"]
