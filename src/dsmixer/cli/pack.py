"""`dsmixer pack`: any data set as tar shards with an index."""

from pathlib import Path

from dsmixer.cli import Parser, complain
from dsmixer.cli.progress import bar
from dsmixer.cli.source import add_source, check_workers, open_source, tell_bad


def main(arguments: list[str]) -> int:
    """Pack; returns 0, though bad files were left out, or 1 where nothing could be written; ``ValueError`` else."""
    asked = _parser().parse_args(arguments)
    for name in ("shard_size", "resize"):
        value = getattr(asked, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {value}, but it must be at least 1")
    out = Path(asked.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists; give a folder that does not, or is empty")
    check_workers(asked)
    sources, notes = open_source(asked)
    for note in notes:
        print(f"note: {note}")

    from dsmixer.data.bad import write_bad
    from dsmixer.data.pack import pack

    try:
        with bar(sum(len(source.labels) for source in sources.values())) as advance:
            bad = pack(
                sources,
                out,
                shard_bytes=asked.shard_size * 1_000_000,
                resize=asked.resize,
                workers=asked.workers,
                advance=advance,
            )
        if bad:
            write_bad(out / "bad_files.csv", dict(bad))
    except OSError as error:
        return complain(f"{out} cannot be written: {error.strerror or error}", code=1)
    tell_bad("left out", bad)
    if bad:
        print(f"{len(bad):,} bad files were left out; see {out / 'bad_files.csv'}")
    images = sum(len(source.labels) for source in sources.values()) - len(bad)
    shards = sorted(out.glob("*.tar"))
    size = sum(path.stat().st_size for path in shards)
    print(f"{images:,} images in {len(shards)} shards of {size / 1e6:,.1f} MB: dsmixer train ... --data.root {out}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="dsmixer pack",
        description="Copy every image of a data set into tar shards in the WebDataset layout, with an index for random "
        "access. Bad files are left out and named. OUT appears at the end, whole.",
        allow_abbrev=False,
    )
    add_source(parser)
    parser.add_argument("out", metavar="OUT", help="folder to make")
    parser.add_argument(
        "--shard-size", type=int, default=256, metavar="MB", help="largest size of a shard (default: %(default)s)"
    )
    parser.add_argument("--resize", type=int, metavar="SIDE", help="make the shorter side at most this long (JPEG, 95)")
    return parser
