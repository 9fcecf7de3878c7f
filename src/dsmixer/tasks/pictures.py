"""The pictures of classification: of a training report, of an evaluation, of predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps

from dsmixer.data.names import named, spelt_out

RIGHT, WRONG, UNJUDGED = "#2a6f4e", "#b3261e", "#333333"
NAMED = 30  # classes beyond which neither names nor counts would be legible
SIDE, TEXT, COLUMNS = 112, 40, 8  # of a sheet's cell, in pixels


class Cell(NamedTuple):
    """One image of a sheet; none where it could not be read."""

    image: Image.Image | None
    caption: str
    color: str = UNJUDGED


def draw_confusion(matrix: np.ndarray, classes: list[str], path: Path, *, counts: bool = True) -> None:
    """Counts (true, predicted) as a picture, colored by the share of the true class; or that share in percent."""
    count, names = len(classes), [spelt_out(name) for name in classes]
    figure = _figure(min(3 + 0.45 * count, 12), min(2.6 + 0.42 * count, 11))
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if count <= NAMED:
        turned = 90 if max(map(len, names)) > 3 else 0
        axes.set_xticks(range(count), names, rotation=turned, parse_math=False)  # "$1_$2" is a name, no formula
        axes.set_yticks(range(count), names, parse_math=False)
        for i, j in zip(*np.nonzero(matrix), strict=True):
            text = str(matrix[i, j]) if counts else f"{100 * share[i, j]:.0f}"
            axes.text(j, i, text, ha="center", va="center", color="white" if share[i, j] > 0.5 else "black")
    right, total = np.trace(matrix), matrix.sum()
    axes.set_title(f"{right} of {total} right" if counts else f"{100 * right / max(total, 1):.1f} % right; cells in %")
    with named(path):
        figure.savefig(path, dpi=100)


def draw_calibration(count: np.ndarray, confident: np.ndarray, right: np.ndarray, error: float, path: Path) -> None:
    """Reliability diagram: of the images of each bin of confidence, the share that is right, and how many they are.

    ``confident`` and ``right`` are the bins' means of confidence and of being right.
    """
    figure = _figure(5, 5.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    bins, filled = len(count), count > 0
    middle = (np.arange(bins) + 0.5) / bins
    top.plot([0, 1], [0, 1], color="gray", linestyle=":", label="as confident as right")
    top.bar(middle[filled], right[filled], 0.9 / bins, color="#9ecae1", label="share that is right")
    top.plot(confident[filled], right[filled], "o", color=RIGHT, label="at their mean confidence")
    top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="right", title=f"expected calibration error {100 * error:.2f} %")
    figure.legend(fontsize=8, loc="outside upper center", ncols=3)
    bottom.bar(middle, count, 0.9 / bins, color="#9ecae1")
    bottom.set(xlabel="confidence", ylabel="images")
    with named(path):
        figure.savefig(path, dpi=100)


def draw_sizes(pixels: list[int], accuracy: list[float], trained: int, path: Path) -> None:
    """Accuracy over the side of the input."""
    figure = _figure(5, 3.6)
    axes = figure.add_subplot()
    axes.plot(pixels, accuracy, "o-", color=RIGHT)
    axes.axvline(trained, color="gray", linestyle=":", label=f"trained at {trained}")
    axes.set(xlabel="side of the input in pixels", ylabel="top-1", ylim=(0, 1.02), title="accuracy by input size")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with named(path):
        figure.savefig(path, dpi=100)


def judged(image: Image.Image, true: str, predicted: str, confidence: float) -> Cell:
    """A cell that says what was predicted; a mistake is red, with the truth beneath."""
    right = true == predicted
    line = f"{predicted[:13]} {100 * confidence:.0f}%" + ("" if right else f"\nis {true[:15]}")
    return Cell(thumbnail(image), line, RIGHT if right else WRONG)


def thumbnail(image: Image.Image) -> Image.Image:
    """The middle square at a cell's size; enlarged pixels keep their edges."""
    way = Image.Resampling.NEAREST if min(image.size) < SIDE else Image.Resampling.BICUBIC
    return ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), way)


def draw_sheet(cells: Sequence[Cell], path: Path) -> None:
    """Thumbnails in rows, each above its caption of one or two lines; a gray square stands for a missing one."""
    width, height = SIDE + 12, SIDE + TEXT
    rows = max(1, -(-len(cells) // COLUMNS))
    sheet = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, cell in enumerate(cells):
        left, top = place % COLUMNS * width + 6, place // COLUMNS * height + 6
        sheet.paste(cell.image or Image.new("RGB", (SIDE, SIDE), "#cccccc"), (left, top))
        draw.text((left, top + SIDE + 1), cell.caption, cell.color, font)
    with named(path):
        sheet.save(path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")  # no pyplot: nothing global, no window system
    FigureCanvasAgg(figure)
    return figure
