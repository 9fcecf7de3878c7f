"""A small data set kept decoded: reading an image is then a copy of its pixels."""

import os
from collections.abc import Iterator
from functools import partial

from PIL import Image

from dsmixer.data.ahead import ahead
from dsmixer.data.bad import Bad
from dsmixer.data.source import Source, machine_memory
from dsmixer.data.splits import Split, Splits


class InMemory(Source):
    """All images of a source, decoded at once and kept; worker processes that are forked share them.

    ``mode`` is the one in which they will be asked for. ``ValueError`` where they take more than ``limit`` bytes. An
    image that cannot be read is refused when it is asked for, as by the source.
    """

    def __init__(self, source: Source, mode: str, limit: int) -> None:
        self.classes, self.labels, self.name, self.read = source.classes, source.labels, source.name, source.read
        self.mode, self.images = mode, list[Image.Image | str]()
        workers, size = os.cpu_count() or 1, 0
        for found in ahead(partial(_image, source, mode), range(len(source.labels)), workers, 16 * workers):
            self.images.append(found)
            if not isinstance(found, str):
                size += found.width * found.height * (1 if mode == "L" else 4)  # Pillow pads RGB to four bytes
            if size > limit:
                raise ValueError(
                    f"{len(self.images):,} of {len(source.labels):,} decoded images take more than "
                    f"{limit / 1e9:.3g} GB, what data.cache memory may use here; set data.cache to none"
                )

    def image(self, row: int, mode: str) -> Image.Image:
        """A copy of the image; ``mode`` is that of the cache."""
        assert mode == self.mode, f"kept as {self.mode}, asked for as {mode}"
        found = self.images[row]
        if isinstance(found, str):
            raise ValueError(found)
        return found.copy()

    def bad(self) -> Iterator[Bad]:
        """What cannot be read."""
        for row, found in enumerate(self.images):
            if isinstance(found, str):
                name = self.name(row)
                yield name, found.removeprefix(f"{name}: ")


def in_memory(splits: Splits, mode: str) -> Splits:
    """The same splits, decoded, and with all that is bad in them.

    Half of the machine's memory may be used for that, shared by their sources.
    """
    sources = {id(part.source): part.source for part in splits[:3]}
    limit = machine_memory() // 2 // len(sources)
    kept = {key: InMemory(source, mode, limit) for key, source in sources.items()}
    train, val, test = (Split(kept[id(part.source)], part.rows) for part in splits[:3])
    bad = dict([*splits.bad, *(found for source in kept.values() for found in source.bad())])
    return splits._replace(train=train, val=val, test=test, bad=tuple(bad.items()))


def _image(source: Source, mode: str, row: int) -> Image.Image | str:
    """The image, or why it cannot be read."""
    try:
        image = source.image(row, mode)
        return image if type(image) is Image.Image else image.copy()  # a copy leaves the encoded bytes behind
    except ValueError as error:
        return str(error)
