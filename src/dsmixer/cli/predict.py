"""`dsmixer predict`: images in, a line for each out, while they are read; pictures of them where asked for."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dsmixer.cli import Parser
from dsmixer.cli.lines import LINES, PictureFolder
from dsmixer.cli.progress import bar
from dsmixer.cli.settings import add_settings, new_file, new_folder, read_settings, refuse_idle
from dsmixer.config import FIND_OBJECTS, LABEL_PIXELS, PredictConfig
from dsmixer.weights import find, read_about

if TYPE_CHECKING:
    from dsmixer.inference.inputs import Input
    from dsmixer.inference.stream import Prediction

ON_SHEET = 400  # thumbnails of a sheet; beyond, they would no longer be looked at
VIEWS = ("window", "stride", "scales", "flip")


@dataclass(frozen=True)
class Wanted:
    """Where the answers go."""

    form: str
    out: Path | None
    sheet: Path | None
    draw: Path | None
    masks: Path | None


def main(arguments: list[str]) -> int:
    """Predict; 0 if every image was read, 1 if one was not; ``ValueError`` for wrong asking."""
    asked = _parser().parse_args(arguments)
    settings = read_settings(asked, PredictConfig)
    if not asked.images:
        raise ValueError("say what to predict: files, folders, patterns, http(s) addresses, or - for standard input")
    if asked.images != ["-"] and "-" in asked.images:
        raise ValueError("- (standard input) goes alone")
    if len(asked.images) == 1 and (name := asked.images[0]).lower().endswith(".txt"):
        raise ValueError(f"{name} is no image; if it names images, one a line: dsmixer predict - < {name}")
    head = read_about(find(asked.weights)).head  # a mistake here is answered before torch is imported
    if sys.stdout is None and not asked.out:
        raise ValueError("standard output is closed; say where the lines go: --out FILE")
    wanted = _wanted(asked)
    check_kind(head, settings, wanted)
    try:
        return _predict(asked, settings, wanted, head)
    except BrokenPipeError:  # the reader has seen enough, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _wanted(asked: Any) -> Wanted:
    out = new_file("--out", asked.out, asked.overwrite)
    sheet = new_file("--sheet", asked.sheet, asked.overwrite)
    if sheet and sheet.suffix.lower() != ".png":
        raise ValueError(f"--sheet {asked.sheet} must end in .png")
    if asked.draw and asked.masks and Path(asked.draw).resolve() == Path(asked.masks).resolve():
        raise ValueError(f"--draw and --masks are both {asked.draw}; their files have the same names: give two folders")
    if asked.images == ["-"] and asked.overwrite and (asked.draw or asked.masks):
        raise ValueError(
            "standard input may name images that lie in the folder to write to: without --overwrite, please"
        )
    return Wanted(
        asked.format or ("csv" if out and out.suffix.lower() == ".csv" else "jsonl"),
        out,
        sheet,
        new_folder("--draw", asked.draw, asked.overwrite),
        new_folder("--masks", asked.masks, asked.overwrite),
    )


def check_kind(head: str | None, settings: PredictConfig, wanted: Wanted) -> None:
    """Raise ``ValueError`` for what these weights cannot give, and for what they do not look at."""
    if head is None:
        refuse_idle(settings, ("min_score", *VIEWS), "a classifier")
        if wanted.draw or wanted.masks:
            raise ValueError(f"--{'draw' if wanted.draw else 'masks'} is for pixels and objects; try --sheet FILE.png")
        return
    what = f"{head}, which takes one image at a time,"
    refuse_idle(settings, ("top_k", "batch_size", *(VIEWS if head in FIND_OBJECTS else ("min_score",))), what)
    if wanted.sheet:
        raise ValueError("--sheet is for classes; try --draw FOLDER, which draws every image at its own size")
    if wanted.form == "csv":
        raise ValueError(f"what {head} finds does not fit a table; try --format jsonl and --out FILE.jsonl")
    if wanted.masks and head not in LABEL_PIXELS:
        raise ValueError(
            "--masks is for classes of pixels; masks of objects are in the lines, and in --draw's pictures"
        )


def _predict(asked: Any, settings: PredictConfig, wanted: Wanted, head: str | None) -> int:
    """The slow imports happen here."""
    from dsmixer.engine.hardware import set_up
    from dsmixer.inference.inputs import expand, from_stream
    from dsmixer.inference.loading import load

    set_up(settings.threads, False)
    model = load(asked.weights, device=settings.device, precision=settings.precision)
    if asked.weights is None:
        print(f"no --weights: {model.path.stem}, which tells {len(model.classes)} classes apart", file=sys.stderr)
    if asked.images == ["-"]:
        images, total = from_stream(sys.stdin.buffer), None
    else:
        images = list(expand(asked.images))
        total = len(images)
        spare(images, wanted)
    with ExitStack() as stack:
        file = stack.enter_context(_open(wanted.out)) if wanted.out else sys.stdout
        write = LINES[wanted.form](file, min(settings.top_k, len(model.classes)))
        advance = stack.enter_context(bar(total, wanted.out is not None or not sys.stdout.isatty()))
        pictures = list(_pictures(wanted))
        begin, count, failed, shown = time.perf_counter(), 0, 0, []
        for answer in model.stream(images, **_options(head, settings, wanted)):
            write(answer)
            for draw in [] if answer.error else pictures:
                draw(answer)
            if wanted.sheet and len(shown) < ON_SHEET:
                shown.append(answer)
            count, failed = count + 1, failed + bool(answer.error)
            advance(1)
        file.flush()
    if wanted.sheet:
        _draw(shown, wanted.sheet)
    rate = f"{count / (time.perf_counter() - begin):,.0f} images/s"
    beyond = f"; the sheet shows the first {ON_SHEET}" if wanted.sheet and count > ON_SHEET else ""
    print(f"{count:,} images, {failed:,} failed ({rate}){beyond}", file=sys.stderr)
    return 1 if failed else 0


def spare(images: "list[Input]", wanted: Wanted) -> None:
    """Raise ``ValueError`` where pictures would be written among the images they are made of."""
    for name, folder in (("draw", wanted.draw), ("masks", wanted.masks)):
        inputs = [given.content for given in images if isinstance(given.content, Path)]
        if folder and folder.exists() and any(path.resolve().parent == folder.resolve() for path in inputs):
            raise ValueError(f"--{name} {folder} holds images to predict, which could be overwritten; choose another")


def _options(head: str | None, settings: PredictConfig, wanted: Wanted) -> dict[str, Any]:
    """What the stream of this kind of weights is told."""
    shared = {"workers": settings.workers}
    if head is None:
        rest = {"top_k": settings.top_k, "batch_size": settings.batch_size, "thumbnails": wanted.sheet is not None}
        return shared | rest
    shared["keep_images"] = wanted.draw is not None
    return shared | ({"min_score": settings.min_score} if head in FIND_OBJECTS else settings.views)


def _pictures(wanted: Wanted) -> Iterator[Callable[[Any], None]]:
    """What is drawn of each answer."""
    if wanted.draw:
        drawn = PictureFolder(wanted.draw)
        yield lambda answer: drawn.save(answer.name, answer.draw(answer.image))
    if wanted.masks:
        masks = PictureFolder(wanted.masks)
        yield lambda answer: masks.save(answer.name, answer.index_image())


def _open(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise ValueError(f"--out {path} cannot be written: {error.strerror}") from error


def _draw(predictions: list["Prediction"], path: Path) -> None:
    from dsmixer.tasks.pictures import WRONG, Cell, draw_sheet

    cells = []
    for found in predictions:
        name = os.fsencode(Path(found.name).name).decode("utf-8", "replace")[:17]
        if found.error:
            cells.append(Cell(None, f"cannot be read\n{name}", WRONG))
        else:
            label, probability = found.top[0]
            cells.append(Cell(found.thumbnail, f"{label[:13]} {100 * probability:.0f}%\n{name}"))
    draw_sheet(cells, path)


def _parser() -> Parser:
    parser = Parser(
        prog="dsmixer predict",
        usage="dsmixer predict IMAGES... [options]",
        description="A line for each image, in their order. Exit code 1 if one could not be read; the others are done.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGES",
        help="files, folders, patterns, http(s) addresses, or - for standard input",
    )
    parser.add_argument("--weights", metavar="W", help="a run folder, a .safetensors file or a packaged name")
    parser.add_argument("--format", choices=tuple(LINES), help="of the lines; otherwise --out's ending, or jsonl")
    parser.add_argument("--out", metavar="FILE", help="where the lines go; otherwise standard output")
    parser.add_argument("--sheet", metavar="FILE.png", help="a contact sheet with what was predicted")
    parser.add_argument("--draw", metavar="DIR", help="pixels or objects: each image with what was found, at its size")
    parser.add_argument("--masks", metavar="DIR", help="pixels: a palette PNG an image, whose values are the classes")
    parser.add_argument("--overwrite", action="store_true", help="replace what is where the output goes")
    add_settings(parser, PredictConfig)
    return parser
