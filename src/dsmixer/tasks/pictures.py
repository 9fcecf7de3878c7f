"""The two pictures of a classification report."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

RIGHT, WRONG = "#2a6f4e", "#b3261e"
NAMED = 30  # classes beyond which neither names nor counts would be legible


def draw_confusion(matrix: np.ndarray, classes: list[str], path: Path, *, counts: bool = True) -> None:
    """Counts (true, predicted) as a picture, colored by the share of the true class; or that share in percent."""
    count = len(classes)
    figure = _figure(min(3 + 0.45 * count, 12), min(2.6 + 0.42 * count, 11))
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if count <= NAMED:
        axes.set_xticks(range(count), classes, rotation=90 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(range(count), classes)
        for i, j in zip(*np.nonzero(matrix), strict=True):
            text = str(matrix[i, j]) if counts else f"{100 * share[i, j]:.0f}"
            axes.text(j, i, text, ha="center", va="center", color="white" if share[i, j] > 0.5 else "black")
    right, total = np.trace(matrix), matrix.sum()
    axes.set_title(f"{right} of {total} right" if counts else f"{100 * right / max(total, 1):.1f} % right; cells in %")
    figure.savefig(path, dpi=100)


def draw_predictions(cells: list[tuple[Image.Image, str, str, float]], path: Path) -> None:
    """A sheet of (image, true name, predicted name, confidence); mistakes are red, with the truth beneath."""
    columns, side, text = 8, 112, 40
    rows = max(1, -(-len(cells) // columns))
    sheet = Image.new("RGB", (columns * (side + 12), rows * (side + text)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, (image, true, predicted, confidence) in enumerate(cells):
        left, top = place % columns * (side + 12) + 6, place // columns * (side + text) + 6
        sheet.paste(image.convert("RGB").resize((side, side), Image.Resampling.NEAREST), (left, top))
        right = true == predicted
        line = f"{predicted[:13]} {100 * confidence:.0f}%" + ("" if right else f"\nis {true[:15]}")
        draw.text((left, top + side + 1), line, RIGHT if right else WRONG, font)
    sheet.save(path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")  # no pyplot: nothing global, no window system
    FigureCanvasAgg(figure)
    return figure
