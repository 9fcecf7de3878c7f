"""The look at a whole annotated data set before training: every image's header, and a report of all that was found."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from dsmixer.data.bad import Bad
from dsmixer.data.boxes.coco import find_coco, open_coco
from dsmixer.data.boxes.findings import MISSING, NO_MASK, OTHER_SIZE, OUTSIDE_ROOT, TOO_THIN, UNREADABLE, Fault
from dsmixer.data.boxes.source import BoxedImages, is_too_thin
from dsmixer.data.boxes.voc import find_voc, open_voc
from dsmixer.data.decode import decode, upright_size
from dsmixer.data.layout import dense_kind, found_in
from dsmixer.data.splits import Split, Splits, three_parts


def check_images(source: BoxedImages) -> dict[int, Bad]:
    """The images that cannot be used, by row, added to ``source.findings`` too; reads headers, and in doubt more."""
    bad = {}
    for row, written in enumerate(source.names):
        found = _judge(source, row)
        if found:
            fault, reason = found
            source.findings.add(fault, f"{written}: {reason}")
            bad[row] = source.name(row), reason
    return bad


def _judge(source: BoxedImages, row: int) -> tuple[Fault, str] | None:
    """What is wrong with one image, in the words in which reading it would say so."""
    try:
        path = source.path(row)
    except ValueError as error:
        return OUTSIDE_ROOT, _reason(source, row, error)
    if not os.path.exists(path):
        return MISSING, "missing"
    with suppress(Exception):  # a damaged header may raise anything; decoding has a sentence for it
        size = upright_size(path)
        if size == tuple(source.sizes[row]) and not is_too_thin(size):
            return None
    fault = UNREADABLE
    try:
        image = decode(source.read(row), "RGB", source.name(row))
        fault = TOO_THIN if image.size == tuple(source.sizes[row]) else OTHER_SIZE
        source.require_size(row, image.size)
    except ValueError as error:
        return fault, _reason(source, row, error)
    return None


def _reason(source: BoxedImages, row: int, error: ValueError) -> str:
    return str(error).removeprefix(f"{source.name(row)}: ")


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


def open_boxes(root: str, val_fraction: float, *, masks: bool = False) -> Splits[BoxedImages]:
    """The checked splits of a folder in COCO's or Pascal VOC's layout; the notes report what was found in it.

    Images that cannot be used are in ``bad``. ``ValueError`` where the annotations must be corrected first, and where
    ``masks`` are to be learned and there are none. Without a split of its own, val is carved from train.
    """
    sources = open_annotations(root)
    if masks:
        _require_masks(root, sources)
    bad = {split: check_images(source) for split, source in sources.items()}
    refuse_faulty(sources)
    whole = {split: Split(source, np.arange(len(source.ids))) for split, source in sources.items()}
    for split, part in whole.items():
        if not _holds_objects(part, bad[split]):
            few = "; ".join(map(": ".join, list(bad[split].values())[:3]))
            raise ValueError(f"{root}: no object is left in {split} without the images that cannot be used: {few}")
    train, val, test, carved = three_parts(whole, val_fraction)
    for part, purpose in (train, "are left to train on"), (val, "would choose the best checkpoint"):
        if len(whole) < 3 and not _holds_objects(part, bad["train"]):
            raise ValueError(
                f"the {len(part.rows)} images of train that {purpose} hold no object; "
                "another data.val_fraction, or a split for val, would"
            )
    found = tuple(entry for split in bad.values() for entry in split.values())
    return Splits(train, val, test, train.source.classes, (*report(sources), *carved), found)


def _require_masks(root: str, sources: dict[str, BoxedImages]) -> None:
    """``ValueError`` where train has none; objects without one are in the findings otherwise."""
    for split, source in sources.items():
        objects = source.all_objects
        lacking = [i for i, mask in enumerate(objects.segmentations) if mask is None and not objects.crowd[i]]
        if split == "train" and len(lacking) == (~objects.crowd).sum():
            raise ValueError(
                f"{root}: no object of train has a mask, so there is nothing for model.head maskrcnn to learn; "
                "fasterrcnn, retinanet and fcos need boxes alone"
            )
        for place in lacking:
            row = int(np.searchsorted(source.first, place, side="right")) - 1
            source.findings.add(NO_MASK, source.names[row])


def _holds_objects(part: Split[BoxedImages], bad: dict[int, Bad]) -> bool:
    """Whether there is one in an image that can be used."""
    return any(row not in bad and not part.source.objects(row).crowd.all() for row in part.rows)


def open_annotations(root: str) -> dict[str, BoxedImages]:
    """Every split of a folder, annotated in COCO's or Pascal VOC's way; ``ValueError`` where it is neither."""
    return {"coco": open_coco, "voc": open_voc}[find_boxes(root)](root)


def find_boxes(root: str) -> str:
    """ "coco" or "voc", from names alone; ``ValueError`` where it is neither, or a part of it is missing."""
    if (Path(root) / "ImageSets" / "Main").is_dir():
        find_voc(root)
        return "voc"
    if (Path(root) / "annotations").is_dir() and dense_kind(root) != "masks":
        find_coco(root)
        return "coco"
    raise ValueError(
        f"{root} {found_in(root)}; boxes are expected as COCO has them (annotations/train.json beside train/) or as "
        "Pascal VOC does (ImageSets/Main/train.txt)"
    )
