"""What was found, in a few lines, before anything is trained."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from dsmixer.data.bad import Bad
from dsmixer.data.decode import guarded
from dsmixer.data.splits import Split, Splits

SAMPLE = 64  # images whose header is looked at
SHOWN = 5  # of those that cannot be read, and of the classes


def describe(splits: Splits) -> Iterator[str]:
    """Lines: classes and images, sizes of a sample, the smallest class, what of the sample cannot be read, notes."""
    count = len(splits.classes)
    yield counted(splits)
    sizes, bad = sample(splits.train)
    looked = len(sizes) + len(bad)
    counts = np.bincount(splits.train.source.labels[splits.train.rows], minlength=count)
    rarest = int(counts.argmin())
    smallest = f"smallest class: {splits.classes[rarest]}, {counts[rarest]:,} training images"
    yield f"{looked} looked at: {spread(Counter(sizes))}; {smallest}"
    if bad:
        few = "; ".join(map(": ".join, bad[:SHOWN])) + ("; ..." if len(bad) > SHOWN else "")
        yield f"note: {len(bad)} of these {looked} cannot be read: {few}"
    yield from (f"note: {note}" for note in splits.notes)


def counted(splits: Splits) -> str:
    """How many images of how many classes, for any task."""
    parts = (f"{len(part.rows):,} {name}" for name, part in zip(("train", "val", "test"), splits[:3], strict=True))
    return f"data: {', '.join(parts)} images of {len(splits.classes)} classes ({_few(splits.classes)})"


def sample(split: Split) -> tuple[list[tuple[int, int]], list[Bad]]:
    """(width, height) of evenly spread images, from their headers, and which of them cannot be read."""
    sizes, bad = [], list[Bad]()
    for place in np.unique(np.linspace(0, len(split.rows) - 1, SAMPLE).round().astype(int)):
        row = int(split.rows[place])
        name = split.source.name(row)
        try:
            sizes.append(guarded(split.source.read(row), name, lambda image: image.size))
        except ValueError as error:
            bad.append((name, str(error).removeprefix(f"{name}: ")))
    return sizes, bad


def spread(sizes: Counter[tuple[int, int]]) -> str:
    """Smallest, median and largest (width, height) by area, in one phrase."""
    ordered = sorted(sizes.elements(), key=lambda size: (size[0] * size[1], size))
    if not ordered:
        return "none can be read"
    low, middle, high = (f"{width}x{height}" for width, height in (ordered[0], ordered[len(ordered) // 2], ordered[-1]))
    return f"all {low}" if low == high else f"{low} to {high}, median {middle}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", ... {names[-1]}" if len(names) > SHOWN else "")
