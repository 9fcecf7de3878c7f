"""Objects drawn on the image they were found in, at its own size."""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dsmixer.data.names import named
from dsmixer.tasks.found import Found

OPACITY = 0.45  # of masks
GOLDEN = 0.618034  # of the colour circle, from class to class: neighbours differ, and no number of classes runs out


def class_colour(label: int) -> tuple[int, int, int]:
    """A strong colour, the same for a class every time."""
    red, green, blue = colorsys.hls_to_rgb(label * GOLDEN % 1, 0.42, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_objects(image: Image.Image, found: Found, classes: list[str], *, scores: bool = True) -> Image.Image:
    """A copy of the image with masks, boxes, and names (with scores) over it; the surest objects lie on top."""
    order = np.argsort(found.scores, kind="stable")
    pixels = np.array(image.convert("RGB"), np.float32)
    if found.masks is not None:
        for place in order:
            inside = found.masks[place]
            pixels[inside] += OPACITY * (np.array(class_colour(int(found.labels[place]))) - pixels[inside])
    drawn = Image.fromarray(np.round(pixels).astype(np.uint8))
    draw = ImageDraw.Draw(drawn)
    side = min(drawn.size)
    line, font = max(1, round(side / 250)), ImageFont.load_default(max(10, round(side / 40)))
    for place in order:
        label = int(found.labels[place])
        name = classes[label] + (f" {100 * found.scores[place]:.0f}%" if scores else "")
        _draw_box(draw, found.boxes[place].tolist(), name, class_colour(label), line, font)
    return drawn


def _draw_box(
    draw: ImageDraw.ImageDraw,
    box: list[float],
    name: str,
    colour: tuple[int, int, int],
    line: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    left, top, right, bottom = (round(value) for value in box)
    draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line)
    below = draw.textbbox((left, top), name, font, anchor="lb")[1] < 0  # no room above the box
    place, anchor = ((left, top), "lt") if below else ((left, top), "lb")
    draw.rectangle(draw.textbbox(place, name, font, anchor=anchor), fill=colour)
    draw.text(place, name, "white", font, anchor=anchor)


def draw_sheet(cells: list[tuple[Image.Image, Found, Found]], classes: list[str], path: Path, width: int = 480) -> None:
    """Pairs of (image, truth, found) beneath each other: left the truth, right what was found."""
    rows = [
        [
            _narrow(draw_objects(image, truth, classes, scores=False), width),
            _narrow(draw_objects(image, found, classes), width),
        ]
        for image, truth, found in cells
    ]
    heights = [pair[0].height + 8 for pair in rows]
    sheet = Image.new("RGB", (2 * width + 24, sum(heights) + 8), "white")
    top = 8
    for pair, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(pair):
            sheet.paste(picture, (8 + column * (width + 8), top))
        top += height
    with named(path):
        sheet.save(path)


def _narrow(image: Image.Image, width: int) -> Image.Image:
    return image.resize((width, max(1, round(image.height * width / image.width))))
