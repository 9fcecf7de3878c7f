"""COCO JSON: `annotations/train.json` beside `train/`, or `annotations/instances_train2017.json` beside `train2017/`.

Format: boxes as (x, y, width, height), masks as polygons or RLE, `iscrowd`; Lin et al. 2014, cocodataset.org.
"""

import json
import re
import reprlib
from pathlib import Path
from typing import Any

from dsmixer.data.boxes.findings import (
    NO_BOX,
    OBJECT_ID_TWICE,
    UNKNOWN_CATEGORY,
    UNKNOWN_CLASS,
    UNKNOWN_IMAGE,
    Findings,
)
from dsmixer.data.boxes.source import BoxedImages, Collector
from dsmixer.data.folder import SPLITS

FILE_NAME = re.compile(rf"(instances_)?(?P<folder>(?P<split>(?i:{'|'.join(SPLITS)}))(\d{{4}})?)\.json")


def find_coco(root: str) -> dict[str, tuple[Path, Path]]:
    """The annotation file and the image folder of each split, from names alone."""
    found: dict[str, tuple[Path, Path]] = {}
    for path in sorted((Path(root) / "annotations").glob("*.json")):
        match = FILE_NAME.fullmatch(path.name)
        if not match:
            continue
        split = SPLITS[match["split"].lower()]
        if split in found:
            raise ValueError(f"{root} has two files for {split}, {found[split][0].name} and {path.name}; keep one")
        folders = [Path(root) / match["folder"], Path(root) / "images" / match["folder"]]
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is None:
            raise ValueError(f"{path.name} is there, but neither {folders[0]} nor {folders[1]} is a folder of images")
        found[split] = path, folder
    if "train" not in found or not {"val", "test"} & set(found):
        there = ", ".join(sorted(found)) or "no annotation file named after a split"
        raise ValueError(
            f"{root} holds {there}; expected train and (test or val), such as annotations/train.json beside train/"
        )
    return found


def open_coco(root: str) -> dict[str, BoxedImages]:
    """Every split, its classes numbered by name in the order of train's category ids; no image is opened.

    ``ValueError`` for a file that is not COCO JSON. Faults of single entries are in each split's ``findings``.
    """
    files = find_coco(root)
    train = read_coco(Path(root), *files["train"])
    others = [split for split in ("val", "test") if split in files]
    return {"train": train} | {split: read_coco(Path(root), *files[split], train.classes) for split in others}


def read_coco(root: Path, path: Path, folder: Path, classes: list[str] | None = None) -> BoxedImages:
    """One split; ``classes`` are those of train, None where this is train."""
    data = _load(path)
    try:
        names = {int(entry["id"]): str(entry["name"]) for entry in data["categories"]}
        if len(set(names.values())) != len(data["categories"]):
            raise ValueError("a category id or name is used twice")
        collector = Collector(Findings(path.name), classes or [names[number] for number in sorted(names)])
        for entry in data["images"]:
            collector.add_image(int(entry["id"]), str(entry["file_name"]), int(entry["width"]), int(entry["height"]))
        seen: set[int] = set()
        for entry in data["annotations"]:
            if entry["id"] in seen:
                collector.findings.add(OBJECT_ID_TWICE, str(entry["id"]))
            seen.add(entry["id"])
            _add_object(collector, entry, names)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        missing = f"an entry has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is not COCO JSON with images, annotations and categories: {missing}") from error
    numbers = {name: number for number, name in names.items()}
    # a class that this file does not list needs a number that is free in it
    spare = max(names, default=0) + 1
    return collector.finish(root, folder, [numbers.get(name, spare + i) for i, name in enumerate(collector.classes)])


def _add_object(collector: Collector, entry: dict[str, Any], names: dict[int, str]) -> None:
    category, image, name = int(entry["category_id"]), int(entry["image_id"]), f"annotation {entry['id']}"
    if image not in collector.rows:
        collector.findings.add(UNKNOWN_IMAGE, f"{name} in image {image}")
    elif category not in names:
        collector.findings.add(UNKNOWN_CATEGORY, f"{name} of category {category}")
    elif names[category] not in collector.classes:
        collector.findings.add(UNKNOWN_CLASS, f"{name} of {names[category]!r}")
    elif (box := _box(entry.get("bbox"))) is None:
        file_name = collector.names[collector.rows[image]]
        collector.findings.add(NO_BOX, f"{name} in {file_name}: {reprlib.repr(entry.get('bbox'))}")
    else:
        collector.add_object(
            collector.rows[image],
            collector.classes.index(names[category]),
            box,
            crowd=bool(entry.get("iscrowd", 0)),
            area=float(entry["area"]) if entry.get("area") is not None else None,
            segmentation=entry.get("segmentation") or None,  # tools that only draw boxes write []
            name=name,
        )


def _box(bbox: Any) -> list[float] | None:
    """Left, top, right, bottom; None where it is not four numbers: some tools that export masks write []."""
    try:
        left, top, width, height = map(float, bbox)
    except (TypeError, ValueError, OverflowError):
        return None
    return [left, top, left + width, top + height]


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} is not COCO JSON: it holds a {type(data).__name__}, not an object with images")
    return data
