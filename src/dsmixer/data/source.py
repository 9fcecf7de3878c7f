"""What every kind of data set is to the rest: a table of labelled images."""

import difflib
import os
import stat
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from dsmixer.data.decode import decode

MAX_BYTES = 256_000_000  # of one encoded image; a larger file is refused unread


class Source(Protocol):
    """A table of labelled images; a row is an image's number in it."""

    classes: list[str]
    labels: np.ndarray

    def name(self, row: int) -> str:
        """What a person calls the image: a path, a member of a shard, a row of a parquet file."""
        ...

    def read(self, row: int) -> bytes:
        """The encoded image; ``ValueError`` beginning with its name where it cannot be read."""
        ...

    def image(self, row: int, mode: str) -> Image.Image:
        """The decoded image, "RGB" or "L"; ``ValueError`` beginning with its name where it cannot be read."""
        ...

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """All rows in a random order, in which reading them once is cheap."""
        return generator.permutation(len(self.labels))


class Encoded(Source):
    """A source whose images lie there encoded."""

    @abstractmethod
    def read(self, row: int) -> bytes:
        """The encoded image."""

    def image(self, row: int, mode: str) -> Image.Image:
        """Read and decode."""
        return decode(self.read(row), mode, self.name(row))


def machine_memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read_file(path: str, name: str) -> bytes:
    """A whole regular file; ``ValueError`` beginning with ``name``, also for a pipe, which would keep us waiting."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{name}: not a file")
        if found.st_size > MAX_BYTES:
            raise ValueError(f"{name}: {too_large(found.st_size)}")
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: cannot be read ({error.strerror})") from error


def read_text(path: Path) -> str:
    """A whole text file; ``ValueError`` with its name where it cannot be read, or is not UTF-8."""
    try:
        return read_file(str(path), str(path)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def too_large(size: int) -> str:
    """The reason why so many bytes are refused."""
    return f"{size / 1e6:,.0f} MB, more than {MAX_BYTES / 1e6:g} MB; refused unread"


def numbers(names: Iterable[str], classes: list[str], where: str) -> list[int]:
    """The place of each name in ``classes``, those of train; ``ValueError`` for a name that is not there."""
    places = {name: place for place, name in enumerate(classes)}
    found = list(names)
    for name in found:
        if name not in places:
            close = difflib.get_close_matches(name, classes, 1) or classes[:5]
            raise ValueError(f"{where} has the class {name!r}, which train does not have; it has {', '.join(close)}")
    return [places[name] for name in found]
