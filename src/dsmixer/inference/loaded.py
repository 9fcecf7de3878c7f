"""What every trained network is to its user, whatever it predicts."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from PIL import Image
from torch import nn

from dsmixer.data.ahead import ahead
from dsmixer.data.names import first_line
from dsmixer.inference.inputs import Input, expand, image_of
from dsmixer.weights import About

Answer = TypeVar("Answer")


class Opened(NamedTuple):
    """An input decoded, at its own size, or the reason why not."""

    name: str
    image: Image.Image | None
    error: str | None


class Loaded(Generic[Answer]):
    """Images in, answers out, one for each; `dsmixer.load` makes one.

    Attributes:
        classes: the names, in the order of the network's outputs.
        about: architecture and preprocessing, as the weights' header says.
        network: the ``torch.nn.Module``, in evaluation mode.
    """

    def __init__(self, network: nn.Module, about: About, path: Path, device: torch.device, precision: str) -> None:
        self.network = network.to(device).eval()
        self.about, self.path, self.device, self.precision = about, path, device, precision
        self.classes = about.class_names

    def predict(self, images: Any, **options: Any) -> list[Answer]:
        """The answers of `stream` for some images, in their order.

        Args:
            images: one image or several: paths, folders (searched for images), patterns such as ``"*.jpg"``, http(s)
                addresses, encoded bytes, Pillow images, arrays (H, W) or (H, W, 3) of uint8.
            options: as in `stream`.

        Raises:
            ValueError: for the first that cannot be read, naming it; `stream` goes on instead.
        """
        found = []
        for answer in self.stream(images, **options):
            if error := getattr(answer, "error", None):
                raise ValueError(f"{getattr(answer, 'name', '')}: {error}")
            found.append(answer)
        return found

    # each kind has options of its own: to be called as `stream(images, **options)`
    stream: Callable[..., Iterator[Answer]]


def inputs(images: Any) -> Iterator[Input]:
    """One image or an iterable of them, as `Loaded.predict` takes them."""
    several = isinstance(images, Iterable) and not isinstance(images, str | bytes | os.PathLike)
    alone = not several or hasattr(images, "__array__")  # an array, and in some versions an image, is iterable
    return expand([images] if alone else images)


def failure(size: str, error: RuntimeError) -> str:
    """Why there is no answer to images of this size; most often, memory is too small for them."""
    return f"the network fails at {size}: {first_line(error)}"


def opened(images: Any, mode: str, workers: int) -> Iterator[Opened]:
    """Images at their own sizes, decoded by threads, at most two a thread ahead of the reader."""

    def read(given: Input) -> Opened:
        try:
            return Opened(given.name, image_of(given, mode), None)
        except ValueError as error:
            return Opened(given.name, None, " ".join(str(error).split()))

    return ahead(read, inputs(images), workers, 2 * workers)
