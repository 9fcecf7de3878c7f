"""The one place where bytes of unknown origin become pixels."""

import io
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
T = TypeVar("T")


def decode(data: bytes, mode: str, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame of an encoded image, upright (EXIF applied), in 8 bits a channel.

    ``mode`` is "RGB" or "L". 16-bit gray is divided by 257, so 65535 becomes 255; an alpha channel is dropped. The size
    is read from the header and refused above ``max_pixels`` before any pixel is decoded. Pillow only: other decoders
    return half-gray pictures, or crash, where Pillow raises. Every failure is a ``ValueError`` beginning with ``name``.
    """
    return guarded(data, name, lambda image: _eight_bits(ImageOps.exif_transpose(image), mode), max_pixels)


def guarded(data: bytes, name: str, read: Callable[[Image.Image], T], max_pixels: int = MAX_PIXELS) -> T:
    """What ``read`` makes of an opened image of a known format and size whose pixels are not decoded yet.

    Every failure, in ``read`` as well, is a ``ValueError`` beginning with ``name``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > max_pixels:
            raise Image.DecompressionBombError(f"{width}x{height}")
        return read(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"{max_pixels / 1e6:g} megapixels"
        raise ValueError(f"{name}: the header announces more than {limit}; refused unread ({error})") from error
    except Image.UnidentifiedImageError as error:
        head = data[:8].hex(" ") or "nothing"
        known = ", ".join(FORMATS)
        raise ValueError(f"{name}: not an image ({len(data)} bytes, beginning {head}); known are {known}") from error
    except Exception as error:  # a damaged file may raise anything, down to struct.error and SyntaxError
        raise ValueError(f"{name}: damaged image ({len(data)} bytes): {error}") from error


def _eight_bits(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"gray values {values.min()} to {values.max()} do not fit 16 bits")
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; convert to 8 or 16 bits")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)
