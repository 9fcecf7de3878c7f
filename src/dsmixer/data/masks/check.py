"""Every mask of a split looked at before training rather than during it, and how many pixels each class has."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsmixer.data.ahead import ahead
from dsmixer.data.bad import Bad
from dsmixer.data.decode import upright_size
from dsmixer.data.masks.files import IGNORE
from dsmixer.data.masks.folders import MaskFolder, MaskSplit

AHEAD = 4  # masks a thread that may be in memory at once


class ClassPixels(NamedTuple):
    """Of each class (C,), in int64: its pixels, the images that show it, and the scored pixels of those images."""

    pixels: np.ndarray
    images: np.ndarray
    area: np.ndarray
    ignored: int  # pixels that are not scored
    bad: tuple[Bad, ...] = ()  # that could not be counted

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


def count_pixels(split: MaskSplit, workers: int = 1, advance: Callable[[int], object] = lambda _: None) -> ClassPixels:
    """Decode the masks of a split with ``workers`` threads, and of its images the header; count what can be read.

    ``advance`` is told how many more are done.
    """
    source, classes = split.source, len(split.source.classes)
    pixels, images, area = (np.zeros(classes, np.int64) for _ in range(3))
    ignored, bad = 0, list[Bad]()
    look = partial(_count, source)
    for row, found in zip(split.rows, ahead(look, split.rows, workers, AHEAD * workers), strict=True):
        advance(1)
        if isinstance(found, str):
            bad.append((source.name(row), found))
            continue
        ignored += int(found[0])
        scored = found[1:]
        pixels += scored
        images += scored > 0
        area += np.where(scored > 0, scored.sum(), 0)
    return ClassPixels(pixels, images, area, ignored, tuple(bad))


def _count(source: MaskFolder, row: int) -> np.ndarray | str:
    """Pixels of one mask (C + 1,), those that are not scored first; or why training will leave it out."""
    try:
        mask = source.mask(row)
        if not _fits(source.images[row], mask):
            _, mask = source.pair(row, "RGB")
    except ValueError as error:
        return str(error).removeprefix(f"{source.name(row)}: ")
    return np.bincount(mask.ravel() - IGNORE, minlength=len(source.classes) + 1)


def _fits(image: Path, mask: np.ndarray) -> bool:
    """Whether the image's header promises the mask's size."""
    with suppress(Exception):  # a damaged one may raise anything; decoding has a sentence for it
        return upright_size(image) == mask.shape[::-1]
    return False
