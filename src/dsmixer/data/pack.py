"""Any source as tar shards in the WebDataset layout, with their index: few large files in place of many small ones."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dsmixer.data.ahead import ahead
from dsmixer.data.bad import Bad
from dsmixer.data.decode import decode, header
from dsmixer.data.shards import CLASSES, INDEX, make_index, write_index
from dsmixer.data.source import Source

QUALITY = 95  # of the JPEG that a smaller copy becomes
ORDER_SEED = 20261125
SUFFIX = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "GIF": "gif", "TIFF": "tif"}


class Packed(NamedTuple):
    """One image as it will lie in a shard, or why it will not."""

    suffix: str = ""
    data: bytes = b""
    bad: str = ""


class Writer:
    """The shards of one split; a new one is begun when an image more would make the last larger than ``limit``."""

    def __init__(self, folder: Path, split: str, limit: int) -> None:
        self.folder, self.split, self.limit = folder, split, limit
        self.names: list[str] = []
        self.tar: tarfile.TarFile | None = None

    def add(self, row: int, packed: Packed, label: int) -> None:
        """An image and its label."""
        if self.tar is None or self.tar.offset + len(packed.data) > self.limit:
            self.close()
            self.names.append(f"{self.split}-{len(self.names):06d}.tar")
            self.tar = tarfile.open(self.folder / self.names[-1], "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        for suffix, data in ((packed.suffix, packed.data), ("cls", str(label).encode())):
            member = tarfile.TarInfo(f"{row:08d}.{suffix}")  # neither time nor owner: equal data, equal shards
            member.size = len(data)
            self.tar.addfile(member, io.BytesIO(data))

    def close(self) -> None:
        """Finish the last shard."""
        if self.tar:
            self.tar.close()


def pack(
    sources: dict[str, Source],
    out: Path,
    *,
    shard_bytes: int,
    resize: int | None,
    workers: int,
    advance: Callable[[int], object],
) -> list[Bad]:
    """Write every split; returns the images that cannot be read, which are left out.

    Bytes are copied as they are, unless the shorter side is longer than ``resize``. Images are named by their row, and
    lie in a fixed random order, for readers that go through a shard from front to back. All is made in a folder beside
    ``out`` and appears there at the end, whole; what a kill leaves is cleared away by the next try. ``out`` may be an
    empty folder or a link to one. ``ValueError``, before anything is read, where that cannot be or a split is empty.
    """
    if empty := [split for split, source in sources.items() if not len(source.labels)]:
        raise ValueError(f"{empty[0]} is empty: not one image is listed in it; remove the split, or fill it")
    out = out.resolve()  # a link stays, and its folder is filled
    making, bad, classes = out.with_name(f"{out.name}.tmp"), list[Bad](), sources["train"].classes
    if odd := [name for name in classes if "\n" in name]:
        raise ValueError(f"the class {odd[0]!r} has a line break in its name, which {CLASSES} cannot hold")
    if making.exists() and any(path.suffix not in (".tar", ".json", ".txt", ".tmp") for path in making.iterdir()):
        raise ValueError(f"{making} is in the way, and not what an earlier try left")
    shutil.rmtree(making, ignore_errors=True)
    try:
        _make_room(making, out)
        files: dict[str, list[str]] = {}
        for split, source in sources.items():
            writer = Writer(making, split, shard_bytes)
            order = source.order(np.random.Generator(np.random.Philox(ORDER_SEED))).tolist()
            images = ahead(partial(_pack, source, resize), order, workers, 8 * workers)
            for row, packed in zip(order, images, strict=True):
                advance(1)
                if packed.bad:
                    bad.append((source.name(row), packed.bad))
                else:
                    writer.add(row, packed, int(source.labels[row]))
            writer.close()
            if not writer.names:
                raise ValueError(f"not one image of {split} can be read: {bad[-1][0]}: {bad[-1][1]}")
            files[split] = writer.names
        index = make_index(str(making), files, classes, [])
        write_index(str(making / INDEX), index)
        (making / CLASSES).write_text("".join(f"{name}\n" for name in classes), "utf-8", "surrogateescape")
        (making / "_info.json").write_text(json.dumps({"splits": _for_timm(index)}))
        for path in (*making.iterdir(), making):
            _sync(path)
        making.rename(out)
        _sync(out.parent)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return bad


def _make_room(making: Path, out: Path) -> None:
    """An empty folder that can take the place of ``out`` at the end, which is tried; ``ValueError`` where none can."""
    if not out.exists():
        making.mkdir(parents=True)
        return
    advice = f"give a folder in it, such as {out / 'packed'}"
    if out == Path.cwd():
        raise ValueError(f"{out} is the current folder, which cannot be replaced; {advice}")
    try:
        making.mkdir()
        making.rename(out)  # a mount point refuses
        making.mkdir()
    except OSError as error:
        raise ValueError(f"{out} cannot be replaced ({error.strerror}); {advice}") from error


def _pack(source: Source, resize: int | None, row: int) -> Packed:
    name = source.name(row)
    try:
        data = source.read(row)
        image = decode(data, "RGB", name)
    except ValueError as error:
        return Packed(bad=str(error).removeprefix(f"{name}: "))
    if resize is None or min(image.size) <= resize:
        return Packed(SUFFIX[header(data)[0]], data)
    factor = resize / min(image.size)
    width, height = (max(1, round(factor * side)) for side in image.size)
    file = io.BytesIO()
    image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3).save(file, "JPEG", quality=QUALITY)
    return Packed("jpg", file.getvalue())


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _for_timm(index: dict[str, Any]) -> dict[str, Any]:
    """What timm's reader of such shards wants to know."""
    lengths = {split: [len(table["names"]) for table in tables] for split, tables in index["splits"].items()}
    return {
        split: {
            "name": split,
            "filenames": [table["file"] for table in tables],
            "shard_lengths": lengths[split],
            "num_samples": sum(lengths[split]),
        }
        for split, tables in index["splits"].items()
    }
