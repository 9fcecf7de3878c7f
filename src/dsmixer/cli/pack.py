"""`dsmixer pack`: a data set of any layout as tar shards with an index."""

import csv
from pathlib import Path

import numpy as np

from dsmixer.cli import Parser, complain
from dsmixer.cli.progress import bar
from dsmixer.cli.settings import add_settings, read_settings
from dsmixer.config import DataConfig, PackConfig
from dsmixer.data.pack import pack
from dsmixer.data.splits import Split, open_data, open_splits

SHOWN = 10  # names on the console; bad_files.csv has all


def main(arguments: list[str]) -> int:
    """Pack; returns 0, also where images were left out, which it lists; 1 where writing fails."""
    asked = _parser().parse_args(arguments)
    settings = read_settings(asked, PackConfig)
    out = Path(asked.out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ValueError(f"{out} {'is a file' if out.is_file() else 'is not empty'}; give a new folder")
    splits, classes, notes = _open(asked.data, asked.name)
    for note in notes:
        print(f"note: {note}")
    try:
        with bar(sum(len(split.rows) for split in splits.values())) as advance:
            packed = pack(
                splits,
                classes,
                out,
                shard_bytes=round(settings.shard_size * 1_000_000),
                resize=settings.resize,
                workers=settings.workers,
                advance=advance,
            )
        if packed.bad:
            with (out / "bad_files.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([("name", "reason"), *packed.bad.items()])
    except OSError as error:
        return complain(f"{out} cannot be written: {error.strerror or error}", code=1)
    for name, reason in list(packed.bad.items())[:SHOWN]:
        print(f"left out: {name}: {reason}")
    print(
        f"{packed.images:,} images of {len(classes):,} classes in {packed.shards:,} shards, "
        f"{packed.bytes / 1e6:,.1f} MB"
        + (f"; {len(packed.bad):,} could not be read, see {out / 'bad_files.csv'}" if packed.bad else "")
    )
    print(f"use them with: --data.root {out}")
    return 0


def _open(data: str, name: str) -> tuple[dict[str, Split], list[str], list[str]]:
    """The splits as they are stored, so that what is held back from the shards is what would be from the source."""
    if data == "digits":
        digits = open_splits(data, None, DataConfig.val_fraction)
        return {"train": digits.train, "val": digits.val, "test": digits.test}, digits.classes, []
    sources, notes = open_data(name, data)
    splits = {split: Split(source, np.arange(len(source.labels))) for split, source in sources.items()}
    return splits, sources["train"].classes, notes


def _parser() -> Parser:
    parser = Parser(
        prog="dsmixer pack",
        usage="dsmixer pack DATA OUT [options]",
        description="Every split as tar shards in the WebDataset layout, with an index to read them in any order. "
        "Images that cannot be read are left out and listed.",
        allow_abbrev=False,
    )
    parser.add_argument("data", metavar="DATA", help="a folder of images in any layout, or digits")
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    parser.add_argument("--name", default="auto", choices=("auto", "folder", "parquet", "shards"), help="the layout")
    add_settings(parser, PackConfig)
    return parser
