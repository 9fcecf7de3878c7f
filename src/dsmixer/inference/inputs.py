"""What a person may name as images, one after the other; reading one of them."""

import os
import re
import string
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from glob import glob
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

import numpy as np
from PIL import Image

from dsmixer.data.decode import decode, upright
from dsmixer.data.folder import is_image
from dsmixer.data.source import MAX_BYTES, read_file

TIMEOUT, DEADLINE = 20, 120  # seconds: for an answer, and for a whole image
# Pillow reads pixels and EXIF when they are first asked for, which two threads may not do with one image at once: each
# image has always the same of these locks; a prime number of them, for addresses are multiples of 16
_LOOKING = [threading.Lock() for _ in range(61)]


class Input(NamedTuple):
    """One image: its name in the output, and a path, an address, bytes, pixels, or the reason why there is none."""

    name: str
    content: Any


def expand(items: Iterable[Any]) -> Iterator[Input]:
    """Folders and patterns become the images in them, sorted; everything else is one input."""
    for number, item in enumerate(items):
        if isinstance(item, Input):
            yield item
        elif isinstance(item, str | os.PathLike):
            yield from _named(os.fspath(item))
        elif isinstance(item, bytes | Image.Image | np.ndarray):
            yield Input(f"image {number}", item)
        else:
            kind = type(item).__name__
            wanted = "a path, a URL, bytes, a Pillow image or an array of uint8"
            yield Input(f"image {number}", ValueError(f"{kind} is no image; expected {wanted}"))


def image_of(given: Input, mode: str) -> Image.Image:
    """The image as the transform expects it, "RGB" or "L"; ``ValueError`` saying why not, without the name."""
    content = given.content
    if isinstance(content, ValueError):
        raise content
    if isinstance(content, np.ndarray):
        content = _from_array(content)
    if isinstance(content, Image.Image):
        return _from_image(content, mode)
    if isinstance(content, str):
        content = fetch(content)
    try:
        content = read_file(str(content), given.name) if isinstance(content, Path) else content
        return decode(content, mode, given.name)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{given.name}: ")) from error


def from_stream(stream: Any) -> Iterator[Any]:
    """Standard input: an encoded image, or paths one a line. Only the first holds a zero byte; no path can."""
    if b"\0" in stream.peek(64)[:64]:
        data = stream.read(MAX_BYTES + 1)
        yield data
        return
    for line in stream:
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            yield name


def fetch(address: str) -> bytes:
    """The bytes at an http(s) address, up to a size and a time; ``ValueError`` in one sentence."""
    opener = urllib.request.OpenerDirector()  # not build_opener: a redirection could lead to file: or ftp:
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    data, begin = bytearray(), time.monotonic()
    try:
        request = urllib.request.Request(in_ascii(address), headers={"User-Agent": "dsmixer"})
        with opener.open(request, timeout=TIMEOUT) as answer:
            while part := answer.read1(1 << 16):
                data += part
                _check_size(len(data))
                if time.monotonic() - begin > DEADLINE:
                    raise ValueError(f"not complete after {DEADLINE} seconds")
    except HTTPError as error:
        error.close()  # it is the answer, too
        raise ValueError(f"the server answers {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise ValueError(f"cannot be fetched ({getattr(error, 'reason', error)}); is there a network?") from error
    return bytes(data)


def in_ascii(address: str) -> str:
    """An address as it is sent: the host in IDNA, the rest percent-encoded but for what is so already."""
    parts = urlsplit(address)
    return quote(parts._replace(netloc=parts.netloc.encode("idna").decode()).geturl(), safe=string.punctuation)


def _named(name: str) -> Iterator[Input]:
    # os.path's, not pathlib's: of a name that is too long, or may not be looked at, Path.is_dir raises
    if re.match(r"https?://", name, re.IGNORECASE):
        return iter([Input(name, name)])
    if (other := re.match(r"([a-z][a-z0-9+.-]*)://", name, re.IGNORECASE)) and not os.path.exists(name):
        return iter([Input(name, ValueError(f"{other[1]} addresses are not fetched, only http and https"))])
    if os.path.isdir(name):
        return _some(_walk(name), Input(name, ValueError("holds no image")))
    if not os.path.exists(name) and any(sign in name for sign in "*?["):
        return _some(_images(sorted(glob(name, recursive=True))), Input(name, ValueError("matches no image")))
    return iter([Input(name, Path(name))])


def _walk(folder: str) -> Iterator[Input]:
    """Images beneath a folder, sorted folder by folder, then the folders that cannot be listed.

    Hidden ones and links to folders are passed over.
    """
    closed: list[OSError] = []
    for where, folders, files in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from _images(os.path.join(where, name) for name in sorted(files) if not name.startswith("."))
    for error in closed:
        yield Input(str(Path(error.filename)), ValueError(f"cannot be listed ({error.strerror})"))


def _images(paths: Iterable[str]) -> Iterator[Input]:
    """Images by their names; among them those of which nothing else can be known."""
    for path in map(Path, paths):
        if is_image(path.name) and (os.path.isfile(path) or not os.path.exists(path)):
            yield Input(str(path), path)


def _some(found: Iterator[Input], otherwise: Input) -> Iterator[Input]:
    """What was found, or, if it was nothing, ``otherwise``."""
    yield next(found, otherwise)
    yield from found


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES / 1e6:g} MB")


def _from_image(image: Image.Image, mode: str) -> Image.Image:
    if not (image.width and image.height):
        raise ValueError(f"empty: {image.width}x{image.height} pixels")
    try:
        with _LOOKING[id(image) % len(_LOOKING)]:
            image.load()  # here, not where nobody expects that a damaged file may raise anything
            return upright(image, mode)
    except Exception as error:
        raise ValueError(f"damaged image: {error}") from error


def _from_array(array: np.ndarray) -> Image.Image:
    gray, color = array.ndim == 2, array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (gray or color) or not array.size:
        raise ValueError(f"array {array.shape} of {array.dtype}; expected (H, W) or (H, W, 3) of uint8, 0 to 255")
    return Image.fromarray(array)
