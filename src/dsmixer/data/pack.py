"""Any data set as tar shards with an index: few large files, read in place (``shards.py``)."""

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dsmixer.data.ahead import ahead
from dsmixer.data.decode import FORMATS, decode
from dsmixer.data.shards import CLASSES, Table, write_index
from dsmixer.data.splits import Split

ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "GIF": "gif", "TIFF": "tif"}
QUALITY = 95  # of a JPEG that had to be made smaller
ORDER_SEED = 20261125


class Packed(NamedTuple):
    """How many images and bytes were written, in how many shards, and what could not be read: names and reasons."""

    images: int
    bytes: int
    shards: int
    bad: dict[str, str]


class Ready(NamedTuple):
    """An encoded image with its file ending and label, or the reason why not."""

    name: str
    data: bytes
    ending: str
    label: int
    error: str | None = None


def pack(
    splits: dict[str, Split],
    classes: list[str],
    out: Path,
    *,
    shard_bytes: int,
    resize: int = 0,
    workers: int = 1,
    advance: Callable[[int], object] = lambda images: None,
) -> Packed:
    """Write shards of about ``shard_bytes`` and their index into the folder ``out``, which must not exist.

    Every image is decoded once, and left out if it cannot be; the others keep their bytes, so that the shards train
    like the source. With a ``resize``, those whose shorter side is longer become JPEGs whose shorter side is that. The
    work is done in ``out``.part, which gets its name when all of it is on the disk.
    """
    if odd := [name for name in classes if "\n" in name]:
        raise ValueError(f"the class name {odd[0]!r} has a line break, which {CLASSES} cannot hold")
    part = out.with_name(f"{out.name}.part")
    if part.exists() and not all(path.suffix in (".tar", ".txt", ".json", ".tmp") for path in part.iterdir()):
        raise ValueError(f"{part} is in the way, and not the remains of an earlier try")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    bad: dict[str, str] = {}
    tables = {}
    try:
        for name, split in splits.items():
            shards = Shards(part, name, shard_bytes)
            tables[name] = _pack_split(name, split, shards, resize, workers, advance, bad)
        (part / CLASSES).write_text("".join(f"{name}\n" for name in classes), "utf-8", "surrogateescape")
        write_index(part, classes, tables)
        _sync(part)
        os.rename(part, out)
        _sync(out.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    images, shards = (sum(len(getattr(table, column)) for table in tables.values()) for column in ("label", "shards"))
    return Packed(images, sum(sum(table.bytes) for table in tables.values()), shards, bad)


def _pack_split(
    name: str,
    split: Split,
    shards: "Shards",
    resize: int,
    workers: int,
    advance: Callable[[int], object],
    bad: dict[str, str],
) -> Table:
    """One split; the images lie in a fixed random order, for readers that go through a shard from front to back."""
    order = np.random.Generator(np.random.Philox(ORDER_SEED)).permutation(len(split.rows))
    rows = []
    for place, ready in zip(
        order.tolist(),
        ahead(lambda place: _prepare(split, int(split.rows[place]), resize), order, workers, 8 * workers),
        strict=True,
    ):
        advance(1)
        if ready.error:
            bad[ready.name] = ready.error
            continue
        member = f"{place:08d}.{ready.ending}"
        shard, offset = shards.add({member: ready.data, f"{place:08d}.cls": str(ready.label).encode()})
        rows.append((shard, member, offset, len(ready.data), ready.label))
    if not rows:
        raise ValueError(f"no image of {name} can be read")
    rows.sort(key=lambda row: row[1])  # the source's order: the same places, the same batches
    return Table(*shards.close(), *map(list, zip(*rows, strict=True)))


class Shards:
    """Tars being written, one after the other: the same members give the same bytes, wherever and whenever."""

    def __init__(self, folder: Path, split: str, most: int) -> None:
        self.folder, self.split, self.most = folder, split, most
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.tar: tarfile.TarFile | None = None

    def add(self, members: dict[str, bytes]) -> tuple[int, int]:
        """Append a sample; returns the number of its shard, and where the bytes of its first member begin."""
        if self.tar is None or self.tar.offset >= self.most:
            self._finish()
            self.names.append(f"{self.split}-{len(self.names):06d}.tar")
            self.tar = tarfile.TarFile(self.folder / self.names[-1], "w", format=tarfile.USTAR_FORMAT)
        begin = self.tar.offset + tarfile.BLOCKSIZE  # behind a header of one block
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            self.tar.addfile(info, io.BytesIO(data))
        return len(self.names) - 1, begin

    def close(self) -> tuple[list[str], list[int]]:
        """Names and bytes of the shards, which are on the disk now."""
        self._finish()
        return self.names, self.sizes

    def _finish(self) -> None:
        if self.tar is not None:
            self.tar.close()
            _sync(self.folder / self.names[-1])
            self.sizes.append((self.folder / self.names[-1]).stat().st_size)


def _prepare(split: Split, row: int, resize: int) -> Ready:
    """Read, decode, and shrink where asked."""
    name, label = split.source.name(row), int(split.source.labels[row])
    try:
        data = split.source.read(row)
        image = decode(data, "RGB", name)
    except ValueError as error:
        return Ready(name, b"", "", label, str(error).removeprefix(f"{name}: "))
    if resize and min(image.size) > resize:
        return Ready(name, _smaller(image, resize), "jpg", label)
    with Image.open(io.BytesIO(data), formats=FORMATS) as header:
        return Ready(name, data, ENDINGS[str(header.format)], label)


def _smaller(image: Image.Image, side: int) -> bytes:
    """A JPEG whose shorter side is ``side``, its colors not subsampled."""
    shrink = side / min(image.size)
    size = max(side, round(image.width * shrink)), max(side, round(image.height * shrink))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
