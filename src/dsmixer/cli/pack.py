"""`dsmixer pack`: a data set of any layout as tar shards with an index."""

from pathlib import Path

from dsmixer.cli import Parser, complain
from dsmixer.cli.progress import bar
from dsmixer.cli.settings import add_settings, read_settings
from dsmixer.config import PackConfig
from dsmixer.data.bad import write_bad
from dsmixer.data.digits import Digits
from dsmixer.data.pack import pack
from dsmixer.data.source import Source
from dsmixer.data.splits import open_data

SHOWN = 10  # names on the console; bad_files.csv has all


def main(arguments: list[str]) -> int:
    """Pack; returns 0, also where images were left out, which it lists; 1 where writing fails."""
    asked = _parser().parse_args(arguments)
    settings = read_settings(asked, PackConfig)
    out = Path(asked.out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ValueError(f"{out} {'is a file' if out.is_file() else 'is not empty'}; give a new folder")
    if asked.data == "digits":
        sources, notes = dict[str, Source](train=Digits()), []
    else:
        sources, notes = open_data(asked.name, asked.data, asked.allow_outside)
    for note in notes:
        print(f"note: {note}")
    total = sum(len(source.labels) for source in sources.values())
    try:
        with bar(total) as advance:
            bad = pack(
                sources,
                out,
                shard_bytes=round(settings.shard_size * 1_000_000),
                resize=settings.resize or None,
                workers=settings.workers,
                advance=advance,
            )
        if bad:
            write_bad(out / "bad_files.csv", dict(bad))
    except OSError as error:
        return complain(f"{out} cannot be written: {error.strerror or error}", code=1)
    for name, reason in bad[:SHOWN]:
        print(f"left out: {name}: {reason}")
    sizes = [path.stat().st_size for path in out.glob("*.tar")]
    print(
        f"{total - len(bad):,} images of {len(sources['train'].classes):,} classes in {len(sizes):,} shards, "
        f"{sum(sizes) / 1e6:,.1f} MB" + (f"; {len(bad):,} cannot be read, see {out / 'bad_files.csv'}" if bad else "")
    )
    print(f"use them with: --data.root {out}")
    return 0


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
    parser.add_argument(
        "--name", default="auto", choices=("auto", "folder", "parquet", "shards", "csv"), help="the layout"
    )
    parser.add_argument("--allow-outside", action="store_true", help="a CSV file may name images outside its folder")
    add_settings(parser, PackConfig)
    return parser
