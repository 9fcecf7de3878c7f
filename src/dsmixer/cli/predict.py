"""`dsmixer predict`: images in, a line for each out, while they are read."""

import csv
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dsmixer.cli import Parser
from dsmixer.cli.progress import bar
from dsmixer.cli.settings import add_settings, new_file, read_settings
from dsmixer.config import PredictConfig
from dsmixer.weights import find, read_about

if TYPE_CHECKING:
    from dsmixer.inference.stream import Prediction

ON_SHEET = 400  # thumbnails of a sheet; beyond, they would no longer be looked at


def main(arguments: list[str]) -> int:
    """Predict; 0 if every image was read, 1 if one was not; ``ValueError`` for wrong asking."""
    asked = _parser().parse_args(arguments)
    settings = read_settings(asked, PredictConfig)
    if not asked.images:
        raise ValueError("say what to predict: files, folders, patterns, http(s) addresses, or - for standard input")
    if asked.images != ["-"] and "-" in asked.images:
        raise ValueError("- (standard input) goes alone")
    read_about(find(asked.weights))  # a mistake here is answered before torch is imported
    out = new_file("--out", asked.out, asked.overwrite)
    sheet = new_file("--sheet", asked.sheet, asked.overwrite)
    if sheet and sheet.suffix.lower() != ".png":
        raise ValueError(f"--sheet {asked.sheet} must end in .png")
    form = asked.format or ("csv" if out and out.suffix.lower() == ".csv" else "jsonl")
    try:
        return _predict(asked, settings, form, out, sheet)
    except BrokenPipeError:  # the reader has seen enough, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _predict(asked: Any, settings: PredictConfig, form: str, out: Path | None, sheet: Path | None) -> int:
    """The slow imports happen here."""
    from dsmixer.engine.hardware import set_up
    from dsmixer.inference.inputs import expand, from_stream
    from dsmixer.inference.loading import load

    set_up(settings.threads, False)
    model = load(asked.weights, device=settings.device, precision=settings.precision)
    if asked.images == ["-"]:
        images, total = from_stream(sys.stdin.buffer), None
    else:
        images = list(expand(asked.images))
        total = len(images)
    with ExitStack() as stack:
        file = stack.enter_context(_open(out)) if out else sys.stdout
        write = LINES[form](file, min(settings.top_k, len(model.classes)))
        advance = stack.enter_context(bar(total, out is not None or not sys.stdout.isatty()))
        begin, count, failed, shown = time.perf_counter(), 0, 0, []
        options = {"top_k": settings.top_k, "batch_size": settings.batch_size, "workers": settings.workers}
        for prediction in model.stream(images, thumbnails=sheet is not None, **options):
            write(prediction)
            if sheet and len(shown) < ON_SHEET:
                shown.append(prediction)
            count, failed = count + 1, failed + bool(prediction.error)
            advance(1)
        file.flush()
    if sheet:
        _draw(shown, sheet)
    rate = f"{count / (time.perf_counter() - begin):,.0f} images/s"
    beyond = f"; the sheet shows the first {ON_SHEET}" if sheet and count > ON_SHEET else ""
    print(f"{count:,} images, {failed:,} failed ({rate}){beyond}", file=sys.stderr)
    return 1 if failed else 0


def _jsonl(file: TextIO, top_k: int) -> Callable[["Prediction"], None]:
    return lambda prediction: print(json.dumps(prediction.to_dict()), file=file)


def _csv(file: TextIO, top_k: int) -> Callable[["Prediction"], None]:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["image", *(f"{what}_{k}" for k in range(1, top_k + 1) for what in ("class", "probability")), "error"]
    )

    def write(prediction: "Prediction") -> None:
        cells = [cell for name, probability in prediction.top for cell in (name, round(probability, 6))]
        writer.writerow([prediction.name, *cells, *[""] * (2 * top_k - len(cells)), prediction.error or ""])

    return write


LINES = {"jsonl": _jsonl, "csv": _csv}


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
    parser.add_argument("--overwrite", action="store_true", help="replace --out and --sheet where they exist")
    add_settings(parser, PredictConfig)
    return parser
