"""Masks as people look at them: over the image, and beside the truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dsmixer.data.masks.files import IGNORE
from dsmixer.data.names import named
from dsmixer.tasks.pictures import NAMED

if TYPE_CHECKING:
    from dsmixer.tasks.segmentation import Judged

WIDTH, LINE = 240, 18  # of a sheet's picture, and of a line of text, in pixels
COLUMNS = ("image", "truth", "prediction", "mistakes")
MISTAKE = (230, 30, 30)


def class_colors(classes: int) -> np.ndarray:
    """Colors (classes, 3) in uint8, far apart for neighbours: those of Pascal VOC behind its black background.

    The three lowest bits of the number are the highest of red, green and blue; the next three the second highest.
    """
    number = np.arange(1, classes + 1)[:, None]
    bits = [((number >> (3 * place + np.arange(3))) & 1) << (7 - place) for place in range(8)]
    return np.sum(bits, 0).astype(np.uint8)


def overlay(image: Image.Image, mask: np.ndarray, colors: np.ndarray, opacity: float = 0.6) -> Image.Image:
    """An image under the colors of its mask (H, W), of the same size; what is not scored stays as it is."""
    pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    if pixels.shape[:2] != mask.shape:
        raise ValueError(f"the mask is {mask.shape[1]}x{mask.shape[0]}, the image {image.width}x{image.height}")
    mixed = (1 - opacity) * pixels + opacity * colors[mask.clip(min=0)]
    return Image.fromarray(np.where((mask == IGNORE)[:, :, None], pixels, mixed).round().astype(np.uint8))


def mistakes(image: Image.Image, truth: np.ndarray, predicted: np.ndarray) -> Image.Image:
    """The image in gray, its wrong pixels red, what is not scored black."""
    pixels = np.repeat(np.asarray(image.convert("L"))[:, :, None], 3, 2)
    pixels[(truth != predicted)] = MISTAKE
    pixels[truth == IGNORE] = 0
    return Image.fromarray(pixels)


def draw_judged(shown: Sequence[tuple[Image.Image, "Judged"]], classes: list[str], path: Path) -> None:
    """A sheet of rows (image, truth, prediction, mistakes), the share of right pixels beside, the colors beneath."""
    colors = class_colors(len(classes))
    rows = [_row(image, judged, colors) for image, judged in shown]
    legend = _legend(classes[:NAMED], colors) if len(classes) <= NAMED else None
    height = LINE + sum(row.height for row in rows) + (legend.height if legend else 0)
    sheet = Image.new("RGB", (len(COLUMNS) * WIDTH, height), "white")
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(12), LINE
    for place, title in enumerate(COLUMNS):
        draw.text((place * WIDTH + 4, 2), title, "black", font)
    for row in [*rows, *([legend] if legend else [])]:
        sheet.paste(row, (0, top))
        top += row.height
    with named(path):
        sheet.save(path)


def _row(image: Image.Image, judged: "Judged", colors: np.ndarray) -> Image.Image:
    four = [
        image.convert("RGB"),
        overlay(image, judged.truth, colors),
        overlay(image, judged.predicted, colors),
        mistakes(image, judged.truth, judged.predicted),
    ]
    side = (WIDTH - 4, max(1, round((WIDTH - 4) * image.height / image.width)))
    row = Image.new("RGB", (len(four) * WIDTH, side[1] + LINE), "white")
    for place, picture in enumerate(four):
        row.paste(picture.resize(side, Image.Resampling.BICUBIC), (place * WIDTH + 2, 0))
    text = f"row {judged.row}: {100 * judged.accuracy:.1f} % of the scored pixels right"
    ImageDraw.Draw(row).text((4, side[1] + 2), text, "black", ImageFont.load_default(12))
    return row


def _legend(classes: list[str], colors: np.ndarray) -> Image.Image:
    columns, width = 6, len(COLUMNS) * WIDTH
    legend = Image.new("RGB", (width, LINE * -(-len(classes) // columns) + 4), "white")
    draw, font = ImageDraw.Draw(legend), ImageFont.load_default(12)
    for place, name in enumerate(classes):
        left, top = place % columns * width // columns + 4, place // columns * LINE + 2
        draw.rectangle((left, top + 2, left + 12, top + 13), tuple(map(int, colors[place])))
        draw.text((left + 18, top), name[:20], "black", font)
    return legend
