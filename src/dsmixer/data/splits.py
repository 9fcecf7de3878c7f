"""Which images train, which choose the best checkpoint, and which are only ever looked at once, at the end."""

import os
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from dsmixer.data.bad import Bad
from dsmixer.data.layout import Layout, no_folder, recognize
from dsmixer.data.source import Source

SPLIT_SEED = 20260101  # fixed: runs with different seeds are judged on the same images
# The digits' test images have a seed of their own, set after the recipe was settled: the hold-out before it had been
# looked at while settings were compared.
DIGITS_TEST_SEED = 20261123
TEST_SEED = 20261125  # of data that comes without a held-out split
S = TypeVar("S", bound=Source)


class Split(NamedTuple, Generic[S]):
    """Some rows of a source."""

    source: S
    rows: np.ndarray


class Splits(NamedTuple, Generic[S]):
    """The three parts of a data set and the names of its classes, in the order of the labels.

    ``notes`` are worth saying. ``bad`` are images of which it is known already that they cannot be read. They keep
    their places, so that a file that is lost or repaired between two sessions moves no other.
    """

    train: Split[S]
    val: Split[S]
    test: Split[S]
    classes: list[str]
    notes: tuple[str, ...] = ()
    bad: tuple[Bad, ...] = ()

    @property
    def images(self) -> int:
        """Of the three together."""
        return sum(len(part.rows) for part in self[:3])

    def part(self, name: str) -> Split[S]:
        """One of the three by its name; ``ValueError`` for another."""
        if name not in ("train", "val", "test"):
            raise ValueError(f"split is {name!r}, expected train, val or test")
        return getattr(self, name)


def carve(labels: np.ndarray, fraction: float, seed: int = SPLIT_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Positions (kept, held back): ``fraction`` of every class with at least two members; always the same ones."""
    random = np.random.Generator(np.random.Philox(seed))
    held = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = max(1, round(fraction * len(members))) if len(members) > 1 else 0
        held.append(members[:count])
    held_back = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held_back), held_back


def carve_rows(source: S, rows: np.ndarray, fraction: float, seed: int = SPLIT_SEED) -> tuple[Split[S], Split[S]]:
    """``carve`` within some rows of a source."""
    kept, held = carve(source.labels[rows], fraction, seed)
    return Split(source, rows[kept]), Split(source, rows[held])


def three_parts(whole: dict[str, Split[S]], fraction: float) -> tuple[Split[S], Split[S], Split[S], list[str]]:
    """Train, val, test and what to say of them: a part that is missing is carved from train.

    Where only one is held out it is test, and never chooses.
    """
    train, val, test, notes = whole["train"], whole.get("val"), whole.get("test"), list[str]()
    if test is None:
        test, val = val, None
    if test is None:
        train, test = carve_rows(train.source, train.rows, fraction, TEST_SEED)
        notes.append(f"no held-out split: {len(test.rows):,} images of train are held back for it")
    if val is None:
        train, val = carve_rows(train.source, train.rows, fraction)
        notes.append(f"no split to choose by: {len(val.rows):,} images of train are held back for it")
    return train, val, test, notes


def check_root(name: str, root: str) -> None:
    """``ValueError`` where nothing would be found; looks at names only.

    ``name`` is as ``open_data`` has it, or "boxes" or "masks".
    """
    if name == "boxes":
        from dsmixer.data.boxes.survey import find_boxes

        find_boxes(root)
        return
    if name == "masks":
        from dsmixer.data.masks.folders import find_pairs

        find_pairs(root)
        return
    layout = recognize(root) if name == "auto" else Layout(name, root)
    if not os.path.isdir(layout.root) and layout.kind != "csv":
        raise ValueError(f"{root} {no_folder(root)}")
    if layout.kind == "parquet":
        from dsmixer.data.parquet import find_files

        find_files(layout.root)
    elif layout.kind == "shards":
        from dsmixer.data.shards import find_shards

        find_shards(layout.root)


def open_data(
    name: str, root: str, allow_outside: bool = False, to_train: bool = True
) -> tuple[dict[str, Source], list[str]]:
    """The splits as they are stored, "train" and perhaps "val" and "test", and notes on what was found and left out.

    ``name`` is "auto" to recognize what lies in ``root``, or says what it is: "folder", "parquet", "shards", "csv". In
    every split the labels are numbers of the same classes: they are matched by name. ``allow_outside`` lets a CSV
    file name images outside its folder. Unless it is ``to_train``, a folder may lack train, which then is empty.
    """
    layout = recognize(root) if name == "auto" else Layout(name, root)
    if layout.kind == "folder":
        from dsmixer.data.folder import open_folder

        sources, notes = open_folder(layout.root, to_train)
    elif layout.kind == "parquet":
        from dsmixer.data.parquet import open_parquet

        sources, notes = open_parquet(layout.root)
    elif layout.kind == "shards":
        from dsmixer.data.shards import open_shards

        sources, notes = open_shards(layout.root)
    else:
        from dsmixer.data.csvfile import open_csv

        sources, notes = open_csv(layout.root, allow_outside)
    return sources, [*layout.notes, *notes]


def open_splits(
    name: str, root: str | None, val_fraction: float, allow_outside: bool = False, to_train: bool = True
) -> Splits:
    """The splits of the data set ``name``: "digits", or what ``open_data`` finds in ``root``.

    A split that is missing is carved from train: ``val_fraction`` for test, then as much of the rest for val.
    ``ValueError`` for what nothing can be learned from, unless it is not ``to_train``: weights know their classes.
    """
    if name == "digits":
        from dsmixer.data.digits import Digits

        source = Digits()
        rest, test = carve_rows(source, np.arange(len(source.labels)), 0.2, DIGITS_TEST_SEED)
        train, val = carve_rows(source, rest.rows, val_fraction)
        return Splits(train, val, test, source.classes)
    if root is None:
        raise ValueError(f"data.name is {name}, but data.root is not set: give the folder with --data.root PATH")
    sources, notes = open_data(name, root, allow_outside, to_train)
    whole = {split: Split(source, np.arange(len(source.labels))) for split, source in sources.items()}
    train, val, test, carved = three_parts(whole, val_fraction)
    splits = Splits(train, val, test, train.source.classes)
    if to_train:
        _check(splits, str(root))
    return splits._replace(notes=(*notes, *carved, *_remarks(splits)))


def too_few(classes: list[str]) -> str:
    """Why nothing can be learned of these classes, as a sentence about the data goes on; "" where it can."""
    return f"has only the class {classes[0]!r}; at least two are needed" if len(classes) == 1 else ""


def _check(splits: Splits, root: str) -> None:
    """``ValueError`` where nothing could be learned or judged."""
    if told := too_few(splits.classes):
        raise ValueError(f"{root} {told}")
    for split in ("train", "val", "test"):
        if not len(splits.part(split).rows):
            change = "smaller" if split == "train" else "larger"
            raise ValueError(
                f"{root} has no {split} images left; with more images a class, or a {change} data.val_fraction?"
            )


def _remarks(splits: Splits) -> list[str]:
    """Notes on classes that a split lacks, if it is not empty."""
    notes = []
    for split in ("train", "val", "test"):
        part: Split = splits.part(split)
        absent = np.flatnonzero(np.bincount(part.source.labels[part.rows], minlength=len(splits.classes)) == 0)
        if len(absent) and len(part.rows):
            few = ", ".join(splits.classes[label] for label in absent[:5]) + (", ..." if len(absent) > 5 else "")
            notes.append(f"{split} has no images of {len(absent)} of the {len(splits.classes)} classes ({few})")
    return notes
