"""`dsmixer check`: every image of a data set decoded, and every mask and box, before any training meets them."""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dsmixer.cli import Parser
from dsmixer.cli.progress import bar
from dsmixer.cli.settings import new_file
from dsmixer.cli.source import SHOWN, add_source, check_workers, open_source, tell_bad
from dsmixer.config import MASK_CODING, MasksConfig, field_docs

if TYPE_CHECKING:
    from dsmixer.data.inspect import Findings
    from dsmixer.data.masks.check import ClassPixels
    from dsmixer.data.source import Source


class Checked(NamedTuple):
    """What is to be told: a table, further lines, the bad files by name, and whether annotations must be corrected."""

    table: list[tuple[str, str]]
    lines: list[str]
    bad: dict[str, str]
    wrong: bool = False


def main(arguments: list[str]) -> int:
    """Print what is there; returns 1 if something is bad, else 0; ``ValueError`` where there is no data set."""
    asked = _parser().parse_args(arguments)
    out = new_file("--out", asked.out, asked.overwrite)
    check_workers(asked)
    from dsmixer.data.bad import write_bad
    from dsmixer.data.layout import dense_kind

    kind = dense_kind(asked.data) if asked.name == "auto" else asked.name
    if kind != "masks" and (given := _given(asked)):
        raise ValueError(
            f"--{given[0].replace('_', '-')} says how masks are read, but {asked.data} is not read as masks"
        )
    checked = {"boxes": _boxes, "masks": _masks}.get(kind, _classes)(asked)
    if out:
        write_bad(out, checked.bad)
    _print(checked, out)
    return 1 if checked.bad or checked.wrong else 0


def _classes(asked: argparse.Namespace) -> Checked:
    from dsmixer.data.splits import too_few

    sources, notes = open_source(asked)
    found = _inspect(sources, asked.workers)
    bad = dict(found.bad)
    copies = _copies(found, f", {found.contradicted:,} in another class")
    table = [*_images(found, bad), *_splits(sources), copies]
    alone = too_few(sources["train"].classes)
    return Checked(table, [*_notes(notes), *([f"warning: train {alone} to train on"] if alone else [])], bad)


def _boxes(asked: argparse.Namespace) -> Checked:
    from dsmixer.data.boxes.survey import check_images, open_annotations, report

    sources = open_annotations(asked.data)
    surveyed = dict(bad for source in sources.values() for bad in check_images(source).values())
    found = _inspect(sources, asked.workers)
    bad = {**dict(found.bad), **surveyed}
    table = [*_images(found, bad, "of another size than annotated"), _copies(found)]
    wrong = any(fault.remedy is None for source in sources.values() for fault in source.findings.names)
    return Checked(table, report(sources), bad, wrong)


def _masks(asked: argparse.Namespace) -> Checked:
    from dsmixer.data.masks.check import count_pixels
    from dsmixer.data.masks.folders import open_mask_folders
    from dsmixer.data.splits import Split

    masks = replace(MasksConfig(), **{name: getattr(asked, name) for name in _given(asked)})
    sources, notes = open_mask_folders(asked.data, **masks.coding)
    found = _inspect(sources, asked.workers)
    with bar(found.images) as advance:
        counts = {
            split: count_pixels(Split(source, np.arange(len(source))), asked.workers, advance)
            for split, source in sources.items()
        }
    bad = dict([*(bad for counted in counts.values() for bad in counted.bad), *found.bad])
    table = [*_images(found, bad, "without a mask that fits")]
    for split, counted in counts.items():
        table.append((split, f"{len(sources[split]):,} images: {_shares(sources[split].classes, counted)}"))
    return Checked([*table, _copies(found)], _notes(notes), bad)


def _given(asked: argparse.Namespace) -> list[str]:
    """What was asked about reading masks."""
    return [name for name in MASK_CODING if getattr(asked, name) is not None]


def _inspect(sources: "Mapping[str, Source]", workers: int) -> "Findings":
    from dsmixer.data.inspect import inspect

    with bar(sum(len(source.labels) for source in sources.values())) as advance:
        return inspect(sources, workers, advance)


def _images(found: "Findings", bad: dict[str, str], further: str = "") -> Iterator[tuple[str, str]]:
    """``further`` says what is wrong with those in ``bad`` that can be decoded."""
    from dsmixer.data.describe import spread

    yield "readable", f"{found.images - len(found.bad):,} of {found.images:,} images"
    for reason, count in found.reasons().most_common():
        yield "bad", f"{count:,} {reason}"
    if others := len(bad.keys() - dict(found.bad).keys()):
        yield "bad", f"{others:,} {further}"
    yield "formats", ", ".join(f"{kind} {count:,}" for kind, count in found.formats.most_common())
    yield "width x height", spread(found.sizes)


def _splits(sources: "Mapping[str, Source]") -> Iterator[tuple[str, str]]:
    for split, source in sources.items():
        counts = np.bincount(source.labels, minlength=len(source.classes))
        few, many = (f"{source.classes[place]} {counts[place]:,}" for place in (counts.argmin(), counts.argmax()))
        each = f"{counts[0]:,} each" if few == many else f"{few} to {many}"
        yield split, f"{len(source.labels):,} images of {(counts > 0).sum()} classes, {each}"


def _shares(classes: list[str], counted: "ClassPixels") -> str:
    """Each class's share of the scored pixels, and what is not scored of all."""
    scored = counted.pixels.sum()
    shares = ", ".join(
        f"{name} {100 * count / max(scored, 1):.2f} %" for name, count in zip(classes, counted.pixels, strict=True)
    )
    return f"{shares}; {100 * counted.ignored / max(scored + counted.ignored, 1):.2f} % not scored"


def _copies(found: "Findings", further: str = "") -> tuple[str, str]:
    text = f"{found.repeated:,} of earlier images, byte for byte: {found.leaked:,} in another split{further}"
    return "copies", text


def _notes(notes: list[str]) -> list[str]:
    return [f"note: {note}" for note in notes]


def _print(checked: Checked, out: Path | None) -> None:
    for name, text in checked.table:
        print(f"{name:<16}{text}")
    for line in checked.lines:
        print(line)
    tell_bad("bad", list(checked.bad.items()))
    if len(checked.bad) > SHOWN:
        print(f"and {len(checked.bad) - SHOWN:,} more" + ("" if out else "; --out FILE.csv lists all"))
    if out:
        print(f"see {out}")


def _parser() -> Parser:
    parser = Parser(
        prog="dsmixer check",
        description="Decode every image and print what is there: bad files by reason, formats, sizes, classes, copies; "
        "of masks also every value, of boxes every annotation. The exit code is 1 if something is bad.",
        allow_abbrev=False,
    )
    add_source(parser, "masks", "boxes")
    meaning = field_docs(MasksConfig)
    parser.add_argument(
        "--ignore-index", type=int, metavar="N", help=f"{meaning['ignore_index']} (default: {MasksConfig.ignore_index})"
    )
    parser.add_argument(
        "--reduce-zero-label", action="store_true", default=None, help=f"{meaning['reduce_zero_label']}"
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help=meaning["classes"])
    parser.add_argument("--palette", type=_colors, metavar="JSON", help=meaning["palette"])
    parser.add_argument("--out", metavar="FILE.csv", help="write the bad files, with the reason of each")
    parser.add_argument("--overwrite", action="store_true", help="replace --out")
    return parser


def _colors(text: str) -> list[list[int]]:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no list of colors, such as [[0, 0, 0], [255, 0, 0]]") from error
