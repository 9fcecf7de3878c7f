"""Images with objects in them, whatever format they were annotated in; a row is an image's number.

Boxes are (left, top, right, bottom) in pixels of the upright image; a pixel's own box is (x, y, x + 1, y + 1).
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dsmixer.data.boxes.findings import (
    BROKEN_MASK,
    BROKEN_PART,
    DEGENERATE,
    IMAGE_ID_TWICE,
    NO_OBJECTS,
    NOTHING_TO_FIND,
    OUTSIDE_IMAGE,
    STICKS_OUT,
    UNUSED_CLASS,
    Findings,
)
from dsmixer.data.boxes.instance_masks import drawable
from dsmixer.data.source import Encoded, read_file

MOST_ELONGATED = 50  # longer to shorter side; beyond, resizing to a detector's sides can leave no pixel
TOO_THIN_TEXT = f"{{}}x{{}} is too thin: more than {MOST_ELONGATED} to 1"
Segmentation = list[list[float]] | dict[str, Any] | None  # polygons, RLE as COCO writes it, or neither


class Objects(NamedTuple):
    """Objects of one image: boxes (N, 4) as annotated, class indices (N,), areas in pixels (N,), one mask each.

    ``crowd`` marks regions of many objects, or ones too hard to ask for: never trained on, neither right nor wrong to
    find.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    segmentations: list[Segmentation]


@dataclass
class Collector:
    """Gathers a split while its annotations are read; what cannot be used is dropped here, and named."""

    findings: Findings
    classes: list[str]
    ids: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    objects: list[tuple[int, int, list[float], bool, float | None, Segmentation]] = field(default_factory=list)
    rows: dict[int, int] = field(default_factory=dict)

    def add_image(self, identity: int, name: str, width: int, height: int) -> None:
        """An image; its file is not looked at."""
        if identity in self.rows:
            self.findings.add(IMAGE_ID_TWICE, f"{identity} of {name}")
            return
        self.rows[identity] = len(self.ids)
        self.ids.append(identity)
        self.names.append(name)
        self.sizes.append((width, height))

    def add_object(
        self,
        row: int,
        label: int,
        box: list[float],
        *,
        crowd: bool,
        area: float | None,
        segmentation: Segmentation,
        name: str,
    ) -> None:
        """An object, if its box has an inside and some of it lies in the image."""
        (left, top, right, bottom), (width, height) = box, self.sizes[row]
        name = f"{name} in {self.names[row]}: {left:g} {top:g} {right:g} {bottom:g}"
        if not (np.isfinite(box).all() and right > left and bottom > top):
            self.findings.add(DEGENERATE, name)
            return
        if left >= width or top >= height or right <= 0 or bottom <= 0:
            self.findings.add(OUTSIDE_IMAGE, name)
            return
        # Half a pixel is rounding: COCO's own boxes do it
        if left < -0.5 or top < -0.5 or right > width + 0.5 or bottom > height + 0.5:
            self.findings.add(STICKS_OUT, name)
        kept = None if segmentation is None else drawable(segmentation, width, height)
        if kept != segmentation:
            self.findings.add(BROKEN_MASK if kept is None else BROKEN_PART, name)
        self.objects.append((row, label, box, crowd, area, kept))

    def finish(self, root: Path, folder: Path, category_ids: list[int]) -> "BoxedImages":
        """The split as a source, with its last findings."""
        order = sorted(range(len(self.objects)), key=lambda i: self.objects[i][0])  # stable: an image's stay in order
        table = [self.objects[i] for i in order]
        boxes = np.array([entry[2] for entry in table], np.float64).reshape(-1, 4)
        areas = [(b[2] - b[0]) * (b[3] - b[1]) if a is None else a for _, _, b, _, a, _ in table]
        objects = Objects(
            boxes,
            np.array([entry[1] for entry in table], np.int64),
            np.array([entry[3] for entry in table], bool),
            np.array(areas, np.float64),
            [entry[5] for entry in table],
        )
        counts = np.bincount([entry[0] for entry in table], minlength=len(self.ids))
        for row in np.flatnonzero(counts == 0):
            self.findings.add(NO_OBJECTS, self.names[row])
        for label, count in enumerate(np.bincount(objects.labels, minlength=len(self.classes))):
            if count == 0:
                self.findings.add(UNUSED_CLASS, self.classes[label])
        if objects.crowd.all():
            self.findings.add(NOTHING_TO_FIND, f"{len(self.ids)} images")
        return BoxedImages(root, folder, self, objects, np.append(0, np.cumsum(counts)), category_ids)


class BoxedImages(Encoded):
    """One split; ``classes`` are shared by all, ``category_ids`` are the numbers this split's file gives them."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        collected: Collector,
        objects: Objects,
        first: np.ndarray,
        category_ids: list[int],
    ) -> None:
        self.root, self.folder = Path(os.path.realpath(root)), folder
        self.prefix = Path(os.path.relpath(folder, root)).as_posix()
        self.classes, self.category_ids, self.findings = collected.classes, category_ids, collected.findings
        self.ids, self.names = collected.ids, collected.names
        self.sizes = np.array(collected.sizes, np.int64).reshape(-1, 2)
        self.all_objects, self.first = objects, first
        self.labels = np.zeros(len(self.ids), np.int64)  # one label an image there is none: splits are carved at random

    def name(self, row: int) -> str:
        """The file's path below the root: other splits may use the annotations' name again."""
        return f"{self.prefix}/{self.names[row]}"

    def path(self, row: int) -> Path:
        """The image's file; ``ValueError`` where it, or what it links to, lies outside the data folder."""
        path = Path(os.path.realpath(self.folder / self.names[row]))
        if not path.is_relative_to(self.root):
            raise ValueError(f"{self.name(row)}: leads out of the data folder {self.root}")
        return path

    def read(self, row: int) -> bytes:
        """The encoded image."""
        return read_file(str(self.path(row)), self.name(row))

    def image(self, row: int, mode: str) -> Image.Image:
        """Decode one image; its size must be the annotated one, or no box would be where it should."""
        image = super().image(row, mode)
        self.require_size(row, image.size)
        return image

    def require_size(self, row: int, size: tuple[int, int]) -> None:
        """``ValueError`` unless an image, upright, has the annotated (width, height), and is not too thin."""
        if size != tuple(self.sizes[row]):
            width, height = self.sizes[row]
            raise ValueError(f"{self.name(row)}: {size[0]}x{size[1]}, but annotated as {width}x{height}")
        if is_too_thin(size):
            raise ValueError(f"{self.name(row)}: {TOO_THIN_TEXT.format(*size)}")

    def objects(self, row: int) -> Objects:
        """The objects of one image, crowds among them."""
        boxes, labels, crowd, areas, segmentations = self.all_objects
        part = slice(self.first[row], self.first[row + 1])
        return Objects(boxes[part], labels[part], crowd[part], areas[part], segmentations[part])

    def truth(self, row: int) -> dict[str, Any]:
        """An image and its objects as COCO writes them, the classes numbered from 1."""
        width, height = self.sizes[row].tolist()
        objects, annotations = self.objects(row), []
        for (left, top, right, bottom), label, crowd, area, segmentation in zip(*objects, strict=True):
            entry = {
                "image_id": self.ids[row],
                "category_id": int(label) + 1,
                "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
                "area": float(area),
                "iscrowd": int(crowd),
            }
            annotations.append(entry | ({} if segmentation is None else {"segmentation": segmentation}))
        return {"image": {"id": self.ids[row], "width": width, "height": height}, "annotations": annotations}


def is_too_thin(size: tuple[int, int]) -> bool:
    """Whether an image (width, height) is too thin to be resized to a detector's sides."""
    return max(size) > MOST_ELONGATED * min(size)
