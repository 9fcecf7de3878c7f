"""Which images train, which choose the best checkpoint, and which are only ever looked at once, at the end."""

from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

SPLIT_SEED = 20260101  # fixed: runs with different seeds are judged on the same images
# The digits' test images have a seed of their own, set after the recipe was settled: the hold-out before it had been
# looked at while settings were compared.
DIGITS_TEST_SEED = 20261123


class Source(Protocol):
    """A table of labelled images; a row is an image's number in it."""

    classes: list[str]
    labels: np.ndarray

    def image(self, row: int, mode: str) -> Image.Image:
        """The decoded image, "RGB" or "L"; ``ValueError`` naming the row where it cannot be read."""
        ...


class Split(NamedTuple):
    """Some rows of a source."""

    source: Source
    rows: np.ndarray


class Splits(NamedTuple):
    """The three parts of a data set and the names of its classes, in the order of the labels."""

    train: Split
    val: Split
    test: Split
    classes: list[str]


def carve(labels: np.ndarray, fraction: float, seed: int = SPLIT_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Positions (kept, held back): ``fraction`` of every class with at least two members; always the same ones."""
    random = np.random.Generator(np.random.Philox(seed))
    held = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = max(1, round(fraction * len(members))) if len(members) > 1 else 0
        held.append(members[:count])
    held_back = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held_back), held_back


def carve_rows(source: Source, rows: np.ndarray, fraction: float, seed: int = SPLIT_SEED) -> tuple[Split, Split]:
    """``carve`` within some rows of a source."""
    kept, held = carve(source.labels[rows], fraction, seed)
    return Split(source, rows[kept]), Split(source, rows[held])


def open_splits(name: str, root: str | None, val_fraction: float) -> Splits:
    """The splits of the data set ``name``: "digits", or "parquet" in the folder ``root``."""
    if name == "digits":
        from dsmixer.data.digits import Digits

        source = Digits()
        rest, test = carve_rows(source, np.arange(len(source.labels)), 0.2, DIGITS_TEST_SEED)
        train, val = carve_rows(source, rest.rows, val_fraction)
        return Splits(train, val, test, source.classes)
    from dsmixer.data.parquet import open_parquet

    sources = open_parquet(str(root))
    whole = {split: Split(source, np.arange(len(source.labels))) for split, source in sources.items()}
    train, test = whole["train"], whole.get("test", whole.get("val"))
    if test is None:
        raise ValueError(f"{root} has no held-out split: expected test or val beside train")
    if "test" in whole and "val" in whole:
        val = whole["val"]
    else:
        train, val = carve_rows(train.source, train.rows, val_fraction)
    return Splits(train, val, test, train.source.classes)
