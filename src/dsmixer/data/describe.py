"""What was found, in a few lines, before anything is trained."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from dsmixer.data.decode import header
from dsmixer.data.splits import Split, Splits

SAMPLE = 64  # images whose header is looked at


def describe(splits: Splits) -> Iterator[str]:
    """Lines: classes and images, sizes of a sample, the smallest class, notes."""
    count = len(splits.classes)
    parts = (f"{len(part.rows):,} {name}" for name, part in zip(("train", "val", "test"), splits[:3], strict=True))
    yield f"data: {', '.join(parts)} images of {count} classes ({_few(splits.classes)})"
    sizes = Counter(sample_sizes(splits.train))
    counts = np.bincount(splits.train.source.labels[splits.train.rows], minlength=count)
    rarest = int(counts.argmin())
    smallest = f"smallest class: {splits.classes[rarest]}, {counts[rarest]:,} training images"
    yield f"{sizes.total()} looked at: {spread(sizes)}; {smallest}"
    yield from (f"note: {note}" for note in splits.notes)


def sample_sizes(split: Split) -> list[tuple[int, int]]:
    """(width, height) of evenly spread images, from their headers; those that cannot be read are passed over."""
    sizes = []
    for place in np.unique(np.linspace(0, len(split.rows) - 1, SAMPLE).round().astype(int)):
        try:
            sizes.append(header(split.source.read(int(split.rows[place])))[1])
        except Exception:
            continue
    return sizes


def spread(sizes: Counter[tuple[int, int]]) -> str:
    """Smallest, median and largest (width, height) by area, in one phrase."""
    ordered = sorted(sizes.elements(), key=lambda size: (size[0] * size[1], size))
    if not ordered:
        return "none can be read"
    low, middle, high = (f"{width}x{height}" for width, height in (ordered[0], ordered[len(ordered) // 2], ordered[-1]))
    return f"all {low}" if low == high else f"{low} to {high}, median {middle}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f", ... {names[-1]}" if len(names) > 5 else "")
