"""Labelled images in parquet files, as Hugging Face ``datasets`` writes them.

An image column of {bytes, path}, an integer label column, and the class names in the schema's metadata. Files are named
``train.parquet`` or ``train-00000-of-00002.parquet``. The encoded bytes stay in memory, decoded when asked for.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from dsmixer.data.source import Encoded, Source, numbers

FILE_NAME = re.compile(r"(?P<split>\w+?)(-(?P<shard>\d+)-of-(?P<shards>\d+)(-[0-9a-f]+)?)?\.parquet")


def find_files(root: str) -> dict[str, list[Path]]:
    """The files of each split in ``root``, shards in order; reads names only, so it answers at once."""
    folder = Path(root)
    if not folder.is_dir():
        raise ValueError(f"{root} is not a folder; expected one with train.parquet and test.parquet")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.parquet")):
        match = FILE_NAME.fullmatch(path.name)
        if match:
            split = "val" if match["split"] in ("val", "valid", "validation", "dev") else match["split"]
            found.setdefault(split, []).append(path)
            shards = match["shards"]
            if shards and len(list(folder.glob(f"{match['split']}-*-of-{shards}*.parquet"))) != int(shards):
                raise ValueError(f"{root} lacks shards of {match['split']}: {path.name} says there are {int(shards)}")
    if "train" not in found:
        there = ", ".join(sorted(found)) or "no parquet file named after a split"
        raise ValueError(f"{root} holds {there}; expected train, and perhaps test or val: train.parquet, test.parquet")
    return found


class ParquetImages(Encoded):
    """One split. Pickles as its file names: a worker process reads them again instead of receiving the bytes."""

    def __init__(self, files: list[Path], classes: list[str] | None = None) -> None:
        self.files = files
        schema = _schema(files[0])
        self.image_column, self.label_column, names = _features(schema, files[0])
        self.classes = classes if classes is not None else names
        by_name = np.array(numbers(names, self.classes, str(files[0])), dtype=np.int64)
        self.images, labels = self._read()
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
            wrong = int(labels.min() if labels.min() < 0 else labels.max())
            raise ValueError(f"{files[0]} has label {wrong}, but names only {len(names)} classes")
        self.labels = by_name[labels]

    def _read(self) -> tuple[Any, np.ndarray]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # use_threads=False: worker processes are forked from this one, and Arrow's thread pool does not survive that
        columns = [self.image_column, self.label_column]
        tables = [pq.read_table(path, columns=columns, use_threads=False, memory_map=True) for path in self.files]
        table = pa.concat_tables(tables)
        return table.column(self.image_column), table.column(self.label_column).to_numpy().astype(np.int64)

    def name(self, row: int) -> str:
        """The number of the row, and its split."""
        return f"row {row} of {self.files[0].parent / self.files[0].stem.split('-')[0]}"

    def read(self, row: int) -> bytes:
        """The cell's bytes."""
        cell = self.images[row].as_py()
        if not cell or not cell["bytes"]:
            raise ValueError(f"{self.name(row)}: no image bytes")
        return cell["bytes"]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "images"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.images = self._read()[0]


def open_parquet(root: str) -> tuple[dict[str, Source], list[str]]:
    """Every split of a folder, their labels numbered alike: by class name, in the order of train; and notes."""
    files = find_files(root)
    train = ParquetImages(files["train"])
    sources: dict[str, Source] = {"train": train}
    for split in ("val", "test"):
        if split in files:
            sources[split] = ParquetImages(files[split], train.classes)
    return sources, []


def _schema(path: Path) -> Any:
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowInvalid

    try:
        return pq.read_schema(path)
    except (ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is not a readable parquet file: {error}") from error


def _features(schema: Any, path: Path) -> tuple[str, str, list[str]]:
    """Names of the image and the label column, and of the classes, from the metadata Hugging Face writes."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} has no class names: expected Hugging Face's features in its schema metadata"
        ) from error
    images = [name for name, feature in features.items() if feature.get("_type") == "Image"]
    labels = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    if len(images) != 1 or not labels or (len(labels) > 1 and "label" not in labels):
        raise ValueError(f"{path} has image columns {images} and label columns {labels}; expected one of each")
    label = "label" if "label" in labels else labels[0]
    return images[0], label, features[label]["names"]
