"""`dsmixer check`: every image of a data set decoded, before any training meets it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsmixer.cli import Parser
from dsmixer.cli.progress import bar
from dsmixer.cli.settings import new_file
from dsmixer.cli.source import add_source, open_source

if TYPE_CHECKING:
    from dsmixer.data.inspect import Findings
    from dsmixer.data.source import Source

SHOWN = 20  # bad files on the console


def main(arguments: list[str]) -> int:
    """Print what is there; returns 1 if there are bad files, else 0; ``ValueError`` where there is no data set."""
    asked = _parser().parse_args(arguments)
    out = new_file("--out", asked.out, asked.overwrite)
    sources, notes = open_source(asked)

    from dsmixer.data.bad import write_bad
    from dsmixer.data.inspect import inspect

    with bar(sum(len(source.labels) for source in sources.values())) as advance:
        found = inspect(sources, asked.workers, advance)
    if out:
        write_bad(out, dict(found.bad))
    _print(sources, notes, found, out)
    return 1 if found.bad else 0


def _print(sources: dict[str, "Source"], notes: list[str], found: "Findings", out: Path | None) -> None:
    for name, text in _table(sources, found):
        print(f"{name:<16}{text}")
    for note in notes:
        print(f"note: {note}")
    for name, reason in found.bad[:SHOWN]:
        print(f"bad: {name}: {reason}")
    if len(found.bad) > SHOWN:
        print(f"and {len(found.bad) - SHOWN:,} more" + ("" if out else "; --out FILE.csv lists all"))
    if out:
        print(f"see {out}")


def _table(sources: dict[str, "Source"], found: "Findings") -> Iterator[tuple[str, str]]:
    from dsmixer.data.describe import spread

    yield "readable", f"{found.images - len(found.bad):,} of {found.images:,} images"
    for reason, count in found.reasons().most_common():
        yield "bad", f"{count:,} {reason}"
    yield "formats", ", ".join(f"{kind} {count:,}" for kind, count in found.formats.most_common())
    yield "width x height", spread(found.sizes)
    for split, source in sources.items():
        counts = np.bincount(source.labels, minlength=len(source.classes))
        few, many = (f"{source.classes[place]} {counts[place]:,}" for place in (counts.argmin(), counts.argmax()))
        each = f"{counts[0]:,} each" if few == many else f"{few} to {many}"
        yield split, f"{len(source.labels):,} images of {(counts > 0).sum()} classes, {each}"
    where = f"{found.leaked:,} in another split, {found.contradicted:,} in another class"
    yield "copies", f"{found.repeated:,} of earlier images, byte for byte: {where}"


def _parser() -> Parser:
    parser = Parser(
        prog="dsmixer check",
        description="Decode every image and print what is there: bad files by reason, formats, sizes, classes, copies. "
        "The exit code is 1 if there are bad files.",
        allow_abbrev=False,
    )
    add_source(parser)
    parser.add_argument("--out", metavar="FILE.csv", help="write the bad files, with the reason of each")
    parser.add_argument("--overwrite", action="store_true", help="replace --out")
    return parser
