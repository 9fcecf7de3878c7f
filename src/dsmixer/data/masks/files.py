"""From the bytes of an annotation to a class index a pixel."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dsmixer.data.decode import guarded
from dsmixer.data.source import read_file

IGNORE = -1  # the one value for "not scored" once a mask is read, whatever the file says
_UNKNOWN = -2
_VALUES = 65536


class MaskCoding:
    """How the values of a mask file are to be read.

    ``ignore_index`` is the value, in the file, of pixels that are not scored. ``reduce_zero_label`` is ADE20K's rule:
    0 is not scored either, and value k is class k - 1. ``palette`` gives the value of every color of an RGB mask: that
    of its place in the list. A value that is both a class and ``ignore_index`` is not scored.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_index: int,
        reduce_zero_label: bool = False,
        palette: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if not 0 <= ignore_index < _VALUES:
            raise ValueError(f"ignore_index is {ignore_index}; mask files hold 0 to {_VALUES - 1}, 255 is usual")
        self.num_classes, self.ignore_index, self.reduce_zero_label = num_classes, ignore_index, reduce_zero_label
        self.palette = None if palette is None else _color_codes(np.array(palette))

    @cached_property
    def table(self) -> np.ndarray:
        """Class, ``IGNORE`` or unknown of every value a file can hold."""
        first = int(self.reduce_zero_label)
        table = np.full(_VALUES, _UNKNOWN, np.int32)
        table[first : first + self.num_classes] = np.arange(self.num_classes)
        table[:first] = IGNORE
        table[self.ignore_index] = IGNORE
        return table

    @property
    def expected(self) -> str:
        """The values a file may hold, in words."""
        if self.reduce_zero_label:
            return f"1 to {self.num_classes}, and 0 or {self.ignore_index} where nothing is scored"
        return f"0 to {self.num_classes - 1}, and {self.ignore_index} where nothing is scored"


def decode_mask(data: bytes, name: str, coding: MaskCoding) -> np.ndarray:
    """Class indices and ``IGNORE``, int32 (H, W).

    Gray and palette files are read as the numbers they hold, up to 16 bits, never through colors. ``ValueError``
    beginning with ``name`` for a damaged file, a lossy one, colors without a palette, and values that are no class.
    """
    kind, image = guarded(data, name, lambda image: (image.format, ImageOps.exif_transpose(image)))
    if kind in ("JPEG", "WEBP"):
        raise ValueError(f"{name}: {kind} changes the values of a mask; store masks as PNG")
    values = _values(image, name, coding)
    mask = coding.table[values]
    unknown = mask == _UNKNOWN
    if unknown.any():
        wrong = ", ".join(map(str, np.unique(values[unknown])[:5]))
        raise ValueError(f"{name}: {_place(unknown)} hold {wrong}; expected {coding.expected}")
    return mask


def read_mask(path: Path, coding: MaskCoding, name: str | None = None) -> np.ndarray:
    """``decode_mask`` of a file, called by its path where it has no other name."""
    name = name or str(path)
    return decode_mask(read_file(str(path), name), name, coding)


def _values(image: Image.Image, name: str, coding: MaskCoding) -> np.ndarray:
    if image.mode in ("RGB", "RGBA"):
        if coding.palette is None:
            raise ValueError(
                f"{name}: a mask in colors ({image.mode}); give the palette that says which is which class"
            )
        return _from_colors(np.asarray(image.convert("RGB")), name, coding.palette)
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise ValueError(f"{name}: a mask of mode {image.mode}; expected gray or palette, 8 or 16 bits")
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() >= _VALUES:
        raise ValueError(f"{name}: values {values.min()} to {values.max()}; expected {coding.expected}")
    return values


def _from_colors(colors: np.ndarray, name: str, palette: np.ndarray) -> np.ndarray:
    """The place in the palette of every pixel's color."""
    codes, order = _color_codes(colors), np.argsort(palette)
    place = order[np.searchsorted(palette, codes, sorter=order).clip(max=len(palette) - 1)]
    unknown = palette[place] != codes
    if unknown.any():
        color = tuple(map(int, colors[unknown][0]))
        raise ValueError(f"{name}: {_place(unknown)} have a color that the palette lacks, such as {color}")
    return place


def _color_codes(colors: np.ndarray) -> np.ndarray:
    """One number a color (..., 3)."""
    if colors.shape[-1] != 3 or colors.min() < 0 or colors.max() > 255:
        raise ValueError("a palette is a list of colors, red, green and blue from 0 to 255 each")
    return colors.astype(np.int64) @ np.array([65536, 256, 1])


def _place(pixels: np.ndarray) -> str:
    row, column = np.argwhere(pixels)[0]
    return f"{pixels.sum()} pixels (the first in row {row}, column {column})"
