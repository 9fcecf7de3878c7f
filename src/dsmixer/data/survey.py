"""The look at a whole annotated data set before training: every image's header, and a report of all that was found."""

from pathlib import Path

import numpy as np
from PIL import Image

from dsmixer.data.boxes import BoxedImages
from dsmixer.data.coco import open_coco
from dsmixer.data.decode import FORMATS
from dsmixer.data.findings import MISSING, OTHER_SIZE, OUTSIDE_ROOT, UNREADABLE
from dsmixer.data.splits import Split, Splits, carve_rows
from dsmixer.data.voc import open_voc

ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: values that exchange width and height


def check_images(source: BoxedImages) -> None:
    """Compare every image's header with its annotation and add to ``source.findings``; no pixel is decoded."""
    for row, (name, size) in enumerate(zip(source.names, source.sizes.tolist(), strict=True)):
        try:
            path = source.path(row)
        except ValueError:
            source.findings.add(OUTSIDE_ROOT, name)
            continue
        try:
            found = upright_size(path)
        except FileNotFoundError:
            source.findings.add(MISSING, name)
        except Exception as error:  # a damaged header may raise anything, as in decode
            source.findings.add(UNREADABLE, f"{name}: {error}")
        else:
            if list(found) != size:
                width, height = size
                source.findings.add(OTHER_SIZE, f"{name} is {found[0]}x{found[1]}, not {width}x{height}")


def upright_size(path: object) -> tuple[int, int]:
    """Width and height as ``decode`` will return them, from the header."""
    with Image.open(path, formats=FORMATS) as image:  # type: ignore[arg-type]
        width, height = image.size
        turned = image.getexif().get(ORIENTATION) in TURNED
    return (height, width) if turned else (width, height)


def report(sources: dict[str, BoxedImages]) -> list[str]:
    """What the splits hold and what is wrong with them, a line each."""
    lines = []
    for split, source in sources.items():
        objects = source.all_objects
        crowds = f" and {objects.crowd.sum()} crowds" if objects.crowd.any() else ""
        lines.append(f"{split}: {len(source.ids)} images, {(~objects.crowd).sum()} objects{crowds}")
        counts = np.bincount(objects.labels[~objects.crowd], minlength=len(source.classes))
        lines.append("  " + ", ".join(f"{name} {count}" for name, count in zip(source.classes, counts, strict=True)))
        lines += [f"  {line}" for line in source.findings.lines()]
    return lines


def refuse_faulty(sources: dict[str, BoxedImages]) -> None:
    """``ValueError`` for the first fault that has no remedy."""
    for source in sources.values():
        source.findings.refuse()


def open_boxes(root: str, val_fraction: float) -> tuple[Splits, list[str]]:
    """The checked splits of a folder in COCO's or Pascal VOC's layout, and the report of what was found in it.

    ``ValueError`` where something must be corrected first. Without a split of its own, val is carved from train.
    """
    sources = open_annotations(root)
    for source in sources.values():
        check_images(source)
    refuse_faulty(sources)
    whole = {split: Split(source, np.arange(len(source.ids))) for split, source in sources.items()}
    train, test = whole["train"], whole["test" if "test" in whole else "val"]
    if len(whole) == 3:
        return Splits(train, whole["val"], test, train.source.classes), report(sources)
    train, val = carve_rows(train.source, train.rows, val_fraction)
    if all(sources["train"].objects(row).crowd.all() for row in val.rows):
        raise ValueError(
            f"the {len(val.rows)} images of train that would choose the best checkpoint hold no object; "
            "a larger data.val_fraction, or a split for val, would"
        )
    return Splits(train, val, test, train.source.classes), report(sources)


def open_annotations(root: str) -> dict[str, BoxedImages]:
    """Every split of a folder, annotated in COCO's or Pascal VOC's way; ``ValueError`` where it is neither."""
    if (Path(root) / "ImageSets" / "Main").is_dir():
        return open_voc(root)
    if (Path(root) / "annotations").is_dir():
        return open_coco(root)
    raise ValueError(
        f"{root} holds neither annotations/ (COCO's: annotations/train.json beside train/) nor ImageSets/Main/ (VOC's)"
    )
