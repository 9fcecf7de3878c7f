"""The one place where bytes of unknown origin become pixels."""

import io
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps
from PIL.ExifTags import Base

MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_OPENING = threading.Lock()  # catch_warnings changes the filters of all threads; opening reads a header, so it is short
T = TypeVar("T")


def decode(data: bytes, mode: str, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame of an encoded image, upright (EXIF applied), in 8 bits a channel.

    ``mode`` is "RGB" or "L". 16-bit gray is divided by 257, so 65535 becomes 255; an alpha channel is dropped. The size
    is read from the header and refused above ``max_pixels`` before any pixel is decoded. Pillow only: other decoders
    return half-gray pictures, or crash, where Pillow raises. Every failure is a ``ValueError`` beginning with ``name``.
    """

    def read(image: Image.Image) -> Image.Image:
        image.load()
        return upright(image, mode)

    return guarded(data, name, read, max_pixels)


def guarded(data: bytes, name: str, read: Callable[[Image.Image], T], max_pixels: int = MAX_PIXELS) -> T:
    """What ``read`` makes of an opened image of a known format and size whose pixels are not decoded yet.

    Every failure, in ``read`` as well, is a ``ValueError`` beginning with ``name``.
    """
    if not data:
        raise ValueError(f"{name}: empty")
    try:
        image = _open(data)
        width, height = image.size
        if width * height > max_pixels:
            raise Image.DecompressionBombError(f"{width}x{height}")
        return read(image)
    except Image.DecompressionBombError as error:
        limit = f"{max_pixels / 1e6:g} megapixels"
        raise ValueError(f"{name}: the header announces more than {limit}; refused unread ({error})") from error
    except Image.UnidentifiedImageError as error:
        head = data[:8].hex(" ")
        known = ", ".join(FORMATS)
        raise ValueError(f"{name}: not an image ({len(data)} bytes, beginning {head}); known are {known}") from error
    except Exception as error:  # a damaged file may raise anything, down to struct.error and SyntaxError
        raise ValueError(f"{name}: damaged image ({len(data)} bytes): {error}") from error


def header(data: bytes) -> tuple[str, tuple[int, int]]:
    """Format and (width, height) of an encoded image, from its header alone."""
    image = _open(data)
    return str(image.format), image.size


def upright_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of a file as ``decode`` will return them, from its header; raises whatever Pillow does.

    A PNG whose EXIF stands behind its pixels, where hardly any has it, is taken as it lies.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(path)  # a pipe would keep us waiting
    with _open(path) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise Image.DecompressionBombError(f"{width}x{height}")
        # not PNG's own method, which decodes everything in search of EXIF behind the pixels
        turned = Image.Image.getexif(image).get(Base.Orientation, 1) in TURNED
    return (height, width) if turned else (width, height)


def upright(image: Image.Image, mode: str) -> Image.Image:
    """A decoded image as the network's transform expects it: EXIF applied, 8 bits a channel, "RGB" or "L"."""
    with suppress(Exception):  # whatever damaged EXIF raises: the pixels are there, and stand as they lie
        if image.getexif().get(Base.Orientation, 1) != 1:  # exif_transpose copies what it need not turn
            image = ImageOps.exif_transpose(image)
    return _eight_bits(image, mode)


def _open(data: bytes | str | Path) -> Image.Image:
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes, which are looked at next, and about damaged EXIF
        return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS)


def _eight_bits(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"gray values {values.min()} to {values.max()} do not fit 16 bits")
        values = values.astype(np.uint32)  # and in place from here: 64 megapixels are 256 MB
        values += 128
        values //= 257  # to the nearest
        image = Image.fromarray(values.astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; convert to 8 or 16 bits")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)
