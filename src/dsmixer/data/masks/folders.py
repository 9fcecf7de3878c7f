"""Images and their masks in folders: ``images/{split}`` and ``annotations/{split}``, matched by stem.

ADE20K's ``training`` and ``validation`` are names of the same splits. Class names stand beside them, in ``classes.txt``
or ``classes.json``, in the order of the indices.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from PIL import Image

from dsmixer.data.bad import Bad
from dsmixer.data.folder import SUFFIXES, by_split, listing
from dsmixer.data.layout import dense_kind, found_in
from dsmixer.data.masks.classes import read_classes
from dsmixer.data.masks.files import MaskCoding, read_mask
from dsmixer.data.source import Encoded, read_file
from dsmixer.data.splits import Split, Splits, three_parts

MASK_SUFFIXES = {".png", ".bmp", ".gif", ".tif", ".tiff"}  # of formats that keep every value

NO_MASK = "has no mask"


class Pairs(NamedTuple):
    """The files of a split: images, the mask of each or None, and masks whose image is not there."""

    images: list[Path]
    masks: list[Path | None]
    alone: list[Path]


def find_pairs(root: str | Path) -> dict[str, Pairs]:
    """The files of every split in ``root``, in the order of their names; reads names only."""
    if dense_kind(str(root)) != "masks":
        raise ValueError(
            f"{root} {found_in(str(root))}; masks are expected in annotations/train, of images in images/train"
        )
    images, masks = Path(root) / "images", Path(root) / "annotations"
    folders = by_split(str(images), listing(str(images))[0])
    found = {split: _match(images / name, masks / name) for split, name in folders.items()}
    if "train" not in found or len(found) == 1:
        there = ", ".join(f"images/{split}" for split in found) or "no images/{split}"
        raise ValueError(
            f"{root} holds {there}; expected images/train and annotations/train, and the same for val or test"
        )
    return found


def _match(images: Path, masks: Path) -> Pairs:
    files, by_stem = _by_stem(images, SUFFIXES), _by_stem(masks, MASK_SUFFIXES)
    alone = [path for stem, path in by_stem.items() if stem not in files]
    if not files:
        raise ValueError(f"{images} holds no image; known are {', '.join(sorted(SUFFIXES))}")
    return Pairs(list(files.values()), [by_stem.get(stem) for stem in files], alone)


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected the layout images/train, annotations/train")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):  # some systems leave ._copies
            if path.stem in found:
                raise ValueError(f"{folder} holds {found[path.stem].name} and {path.name}; which one is meant?")
            found[path.stem] = path
    return found


def name_below_root(path: Path) -> str:
    """What a person calls an image or a mask: ``images/train/NAME.jpg``."""
    return "/".join(path.parts[-3:])


class MaskFolder(Encoded):
    """One split: images with a class index a pixel.

    An image's name stands for the pair; what is wrong with its mask is said with the mask's own.
    """

    def __init__(self, pairs: Pairs, classes: list[str], coding: MaskCoding) -> None:
        if not any(pairs.masks):
            raise ValueError(f"no image beside {pairs.images[0]} has a mask; one belongs to the image of the same stem")
        self.images, self.masks, self.classes, self.coding = pairs.images, pairs.masks, classes, coding
        self.labels = np.zeros(len(self), np.int64)  # one label an image there is none: splits are carved at random

    @property
    def bad(self) -> list[Bad]:
        """The images that have no mask; reading them fails."""
        return [(self.name(row), NO_MASK) for row in range(len(self)) if self.masks[row] is None]

    def __len__(self) -> int:
        return len(self.images)

    def name(self, row: int) -> str:
        """The image's path below the root."""
        return name_below_root(self.images[row])

    def read(self, row: int) -> bytes:
        """The encoded image."""
        return read_file(str(self.images[row]), self.name(row))

    def mask(self, row: int) -> np.ndarray:
        """Class indices and ``IGNORE``, int32 (H, W)."""
        path = self.masks[row]
        if path is None:
            raise ValueError(f"{self.name(row)}: {NO_MASK}")
        return read_mask(path, self.coding, name_below_root(path))

    def pair(self, row: int, mode: str) -> tuple[Image.Image, np.ndarray]:
        """Image, "RGB" or "L", and mask; ``ValueError`` naming the mask where it is not as large as the image."""
        mask, image = self.mask(row), self.image(row, mode)
        height, width = mask.shape
        if (width, height) != image.size:
            name = name_below_root(cast(Path, self.masks[row]))
            raise ValueError(f"{name}: the mask is {width}x{height}, its image {image.width}x{image.height}")
        return image, mask


MaskSplit, MaskSplits = Split[MaskFolder], Splits[MaskFolder]


def open_masks(
    root: str | Path,
    *,
    ignore_index: int,
    val_fraction: float,
    reduce_zero_label: bool = False,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
) -> MaskSplits:
    """The splits of a folder; where only one is held out it is the test, and val is carved from train."""
    sources, notes = open_mask_folders(
        root, ignore_index=ignore_index, reduce_zero_label=reduce_zero_label, classes=classes, palette=palette
    )
    whole = {split: Split(source, np.arange(len(source))) for split, source in sources.items()}
    train, val, test, carved = three_parts(whole, val_fraction)
    bad = tuple(found for source in sources.values() for found in source.bad)
    return Splits(train, val, test, train.source.classes, (*notes, *carved), bad)


def open_mask_folders(
    root: str | Path,
    *,
    ignore_index: int,
    reduce_zero_label: bool = False,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
) -> tuple[dict[str, MaskFolder], list[str]]:
    """The splits as they are stored, and notes on what was left out; no file is opened but that of the classes."""
    found = find_pairs(root)
    names = read_classes(root, classes)
    coding = MaskCoding(len(names), ignore_index=ignore_index, reduce_zero_label=reduce_zero_label, palette=palette)
    notes = [
        f"{len(pairs.alone):,} masks of {split} have no image, such as {name_below_root(pairs.alone[0])}: left out"
        for split, pairs in found.items()
        if pairs.alone
    ]
    return {split: MaskFolder(pairs, names, coding) for split, pairs in found.items()}, notes
