"""Images that cannot be read: each is told once, all are written down, and too many stop the run."""

import csv
import io
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from dsmixer.data.names import spelt_out

Bad = tuple[str, str]  # what a person calls the image, and why it cannot be read
HEADING = ("name", "reason")
SHOWN = 10  # names on the console; the file has all


class DataError(RuntimeError):
    """A sample cannot be read, or too many cannot; the message is one sentence that says which."""


class BadFiles:
    """The bad files of a run: names and reasons, also in ``path``, from where a resumed run goes on counting.

    The processes that share a run share the file: each looks into it before it adds a line. More than the share
    ``max_bad`` of ``images`` is a ``DataError``. ``warn`` receives a line for each of the first.
    """

    def __init__(self, path: Path | None, max_bad: float, images: int, warn: Callable[[str], None]) -> None:
        self.path, self.max_bad, self.images, self.warn = path, max_bad, images, warn
        self.reasons: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.reasons)

    def recall(self) -> None:
        """What an earlier session, or another process, wrote down; a line that a kill cut short is dropped."""
        if self.path is not None and self.path.is_file():
            self.reasons |= _read(self.path)
            write_bad(self.path, self.reasons)

    def add(self, found: Iterable[Bad]) -> None:
        """Write down what was not known."""
        told = {spelt_out(name): spelt_out(reason) for name, reason in found}  # as the file will give them back
        new = {name: reason for name, reason in told.items() if name not in self.reasons}
        if new and self.path is not None and self.path.is_file():
            self.reasons |= _read(self.path)
        for name, reason in new.items():
            if name not in self.reasons:
                self._add(name, reason)
        if len(self) > self.max_bad * self.images:
            few = "; ".join(f"{name}: {reason}" for name, reason in list(self.reasons.items())[:SHOWN])
            raise DataError(
                f"{len(self)} of {self.images:,} images cannot be read, more than data.max_bad {self.max_bad:g} allows"
                + (f" (listed in {self.path})" if self.path else "")
                + f": {self._way_out()}: {few}"
                + (", ..." if len(self) > SHOWN else "")
            )

    def _way_out(self) -> str:
        enough = f"--data.max_bad {_round_up(len(self) / max(self.images, len(self))):g}"
        if self.path is None:
            return f"repair them, or allow them with {enough}"
        return f"repair them and remove the list, or go on with --resume {self.path.parent} {enough}"

    def _add(self, name: str, reason: str) -> None:
        self.reasons[name] = reason
        if self.path is not None:
            with self.path.open("ab", buffering=0) as file:  # a line is one write, at the end, whoever else writes
                file.write(_lines([(name, reason)] if file.tell() else [HEADING, (name, reason)]))
        if len(self) <= SHOWN:
            self.warn(f"left out: {name}: {reason}")
        elif len(self) == SHOWN + 1:
            self.warn("more images cannot be read" + (f"; see {self.path}" if self.path else ""))


def write_bad(path: Path, reasons: dict[str, str]) -> None:
    """The table (name, reason), wholly or not at all; several processes may."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(_lines([HEADING, *reasons.items()]))
    os.replace(temporary, path)


def _round_up(share: float) -> float:
    """The next of 0.1, 0.2, 0.5, 1 and their tenths."""
    tenth = 10.0 ** math.floor(math.log10(share))
    return next(digit * tenth for digit in (1, 2, 5, 10) if digit * tenth >= share)


def _lines(rows: Iterable[Bad]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return spelt_out(text.getvalue()).encode()


def _read(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row[0]: row[1] for row in csv.reader(file) if len(row) == 2 and tuple(row) != HEADING}
