"""The data set that `dsmixer check` and `dsmixer pack` are asked about."""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args, get_type_hints

from dsmixer.cli import Parser
from dsmixer.config import DataConfig

if TYPE_CHECKING:
    from dsmixer.data.bad import Bad
    from dsmixer.data.source import Source

SHOWN = 20  # bad files on the console


def add_source(parser: Parser, *further: str) -> None:
    """The options that say which images, and with how many threads; ``further`` kinds of data beside classes."""
    kinds = [kind for kind in get_args(get_type_hints(DataConfig)["name"]) if kind != "digits"]
    which = ", ".join(["class folders", "Hugging Face parquet", "tar shards", "a CSV file", *further])
    parser.add_argument("data", metavar="DATA", help=which)
    parser.add_argument(
        "--name", choices=[*kinds, *further], default=DataConfig.name, help="what DATA is (default: %(default)s: look)"
    )
    parser.add_argument("--allow-outside", action="store_true", help="a CSV file may name images outside its folder")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="threads that decode (default: %(default)s)",
    )


def check_workers(asked: argparse.Namespace) -> None:
    """``ValueError`` where there are none."""
    if asked.workers < 1:
        raise ValueError(f"--workers is {asked.workers}, but it must be at least 1")


def open_source(asked: argparse.Namespace) -> tuple[dict[str, "Source"], list[str]]:
    """The splits as they are stored, and notes; ``ValueError`` where there is no data set."""
    from dsmixer.data.splits import open_data

    return open_data(asked.name, asked.data, asked.allow_outside)


def tell_bad(what: str, bad: "Sequence[Bad]") -> None:
    """Name the first bad files on the console."""
    for name, reason in bad[:SHOWN]:
        print(f"{what}: {name}: {reason}")
