"""Drawings show what was found where it is, on images of any size."""

import numpy as np
import pytest
from PIL import Image

from dsmixer.tasks.drawing import class_colour, draw_objects, draw_sheet
from dsmixer.tasks.found import Found


def found(boxes, labels, size=None):
    masks = None
    if size:
        masks = np.zeros((len(boxes), size[1], size[0]), bool)
        for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
            mask[int(top) : int(bottom), int(left) : int(right)] = True
    return Found(np.array(boxes, float).reshape(-1, 4), np.array(labels, int), np.full(len(labels), 0.5), masks)


def test_the_outline_has_the_class_colour_and_the_rest_is_untouched():
    image = Image.new("RGB", (200, 150), "white")
    drawn = draw_objects(image, found([[40, 50, 120, 130]], [3]), list("abcd"))
    assert drawn.size == image.size
    assert drawn.getpixel((40, 90)) == drawn.getpixel((119, 90)) == drawn.getpixel((80, 129)) == class_colour(3)
    assert drawn.getpixel((80, 90)) == drawn.getpixel((150, 90)) == drawn.getpixel((120, 90)) == (255, 255, 255)
    assert image.getextrema() == ((255, 255),) * 3  # the original is left alone


def test_masks_tint_what_they_cover():
    drawn = draw_objects(Image.new("RGB", (200, 150), "white"), found([[40, 50, 120, 130]], [0], (200, 150)), ["a"])
    tint = np.array(drawn.getpixel((80, 90)))
    assert (abs(tint - (0.55 * 255 + 0.45 * np.array(class_colour(0)))) <= 1).all()
    assert drawn.getpixel((150, 90)) == (255, 255, 255)


@pytest.mark.parametrize("size", [(1, 1), (9, 300), (640, 480)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_any_size_and_boxes_at_every_border(size, mode, tmp_path):
    width, height = size
    boxes = [[0, 0, width, height], [-3, -3, width + 3, height + 3], [width - 0.4, height - 0.4, width, height]]
    image, objects = Image.new(mode, size), found(boxes, [0, 1, 0], size)
    assert draw_objects(image, objects, ["a name that is longer than the image", "b"]).size == size
    draw_sheet([(image, found([], [], size), objects)], ["a", "b"], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 2 * 400


def test_a_sheet_of_nothing(tmp_path):
    draw_sheet([], [], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 0


def test_neighbouring_classes_are_told_apart():
    colours = np.array([class_colour(label) for label in range(80)])
    assert len(np.unique(colours, axis=0)) == 80
    assert (abs(np.diff(colours.astype(int), axis=0)).sum(1) > 100).all()
