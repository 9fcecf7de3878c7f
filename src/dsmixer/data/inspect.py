"""Every image looked at: what is bad, of what size and format the rest is, what is there twice."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from dsmixer.data.ahead import ahead
from dsmixer.data.bad import Bad
from dsmixer.data.decode import decode, header
from dsmixer.data.source import Source

AHEAD = 16  # images a thread that may be in memory at once


class Look(NamedTuple):
    """One image: why it is bad, or its format, its size and a digest of its bytes."""

    bad: str = ""
    format: str = ""
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""


@dataclass
class Findings:
    """What became of all images of a data set."""

    images: int = 0
    bad: list[Bad] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    repeated: int = 0
    """Images whose bytes were there before,"""
    leaked: int = 0
    """of these: in another split,"""
    contradicted: int = 0
    """and of another class."""

    def reasons(self) -> Counter[str]:
        """The bad ones by reason, without what is particular to one file."""
        return Counter(re.split(r" \(|:|;", reason)[0] for _, reason in self.bad)


def inspect(sources: Mapping[str, Source], workers: int, advance: Callable[[int], object]) -> Findings:
    """Decode every image with ``workers`` threads; ``advance`` is told how many more are done."""
    found = Findings()
    first: dict[bytes, tuple[str, int]] = {}
    for split, source in sources.items():
        for row, look in enumerate(
            ahead(partial(look_at, source), range(len(source.labels)), workers, AHEAD * workers)
        ):
            found.images += 1
            advance(1)
            if look.bad:
                found.bad.append((source.name(row), look.bad))
                continue
            found.formats[look.format] += 1
            found.sizes[look.size] += 1
            here = split, int(source.labels[row])
            before = first.setdefault(look.digest, here)
            if before is not here:
                found.repeated += 1
                found.leaked += before[0] != split
                found.contradicted += before[1] != here[1]
    return found


def look_at(source: Source, row: int) -> Look:
    """Read and decode one image."""
    name = source.name(row)
    try:
        data = source.read(row)
        decode(data, "RGB", name)
    except ValueError as error:
        return Look(str(error).removeprefix(f"{name}: "))
    return Look("", *header(data), hashlib.blake2b(data, digest_size=16).digest())
