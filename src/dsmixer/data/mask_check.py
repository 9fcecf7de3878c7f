"""Every mask of a data set looked at, before training rather than during it; and how many pixels each class has."""

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from dsmixer.data.decode import guarded
from dsmixer.data.mask_files import IGNORE, MaskCoding, read_mask
from dsmixer.data.masks import MaskSplit, Pairs, find_pairs, require_size

T = TypeVar("T")


class MaskProblem(NamedTuple):
    """A file that training would stumble over, or silently leave out, and why in one sentence."""

    file: Path
    reason: str


def find_problems(root: str | Path, coding: MaskCoding) -> Iterator[MaskProblem]:
    """What is wrong with the masks of ``root``, split by split, in the order of the file names.

    Masks are decoded; of the images only the header is read. ``ValueError`` where there are no splits to look at.
    """
    for pairs in find_pairs(root).values():
        yield from _of_pairs(pairs, coding)


def _of_pairs(pairs: Pairs, coding: MaskCoding) -> Iterator[MaskProblem]:
    for image, mask in zip(pairs.images, pairs.masks, strict=True):
        if mask is None:
            yield MaskProblem(image, "has no mask")
            continue
        size = yield from _attempt(image, partial(_size, image))
        values = yield from _attempt(mask, partial(read_mask, mask, coding))
        if size is not None and values is not None:
            yield from _attempt(mask, partial(require_size, mask, values, size))
    for mask in pairs.alone:
        yield MaskProblem(mask, "has no image; it is left out")


def _attempt(path: Path, read: Callable[[], T]) -> Generator[MaskProblem, None, T | None]:
    """What ``read`` returns; its failure becomes a problem."""
    try:
        return read()
    except (ValueError, OSError) as error:
        yield MaskProblem(path, str(error).removeprefix(f"{path}: "))
    return None


def _size(path: Path) -> tuple[int, int]:
    """Width and height of an image as decoding will give them, from its header."""

    def read(image: Image.Image) -> tuple[int, int]:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else (image.width, image.height)

    return guarded(path.read_bytes(), str(path), read)


class ClassPixels(NamedTuple):
    """Of each class (C,), in int64: its pixels, the images that show it, and the scored pixels of those images."""

    pixels: np.ndarray
    images: np.ndarray
    area: np.ndarray
    ignored: int  # pixels that are not scored

    def median_frequency_weights(self) -> list[float]:
        """Weights for the loss: the median frequency over the class's own, 1 for a class that is nowhere.

        A class's frequency is its share of the pixels of the images that show it (Eigen and Fergus 2015, section 6.3.2;
        SegNet uses it for CamVid).
        """
        seen = self.pixels > 0
        frequency = self.pixels[seen] / self.area[seen]
        weights = np.ones(len(self.pixels))
        weights[seen] = np.median(frequency) / frequency if seen.any() else 1
        return weights.tolist()


def count_pixels(split: MaskSplit) -> ClassPixels:
    """Decode the masks of a split and count."""
    classes = len(split.source.classes)
    pixels, images, area = (np.zeros(classes, np.int64) for _ in range(3))
    ignored = 0
    for row in split.rows:
        mask = split.source.mask(int(row))
        counts = np.bincount(mask.ravel() - IGNORE, minlength=classes + 1)
        ignored += int(counts[0])
        pixels += counts[1:]
        images += counts[1:] > 0
        area += np.where(counts[1:] > 0, counts[1:].sum(), 0)
    return ClassPixels(pixels, images, area, ignored)
