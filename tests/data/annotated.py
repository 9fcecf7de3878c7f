"""Tiny annotated data sets, right in everything, for tests to spoil."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (64, 48)
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]


def draw(path: Path, boxes, size=SIZE, **save):
    """Black, each box filled with white."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for left, top, width, height in boxes:
        pixels[int(top) : int(top + height), int(left) : int(left + width)] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **save)


def coco(categories=CATEGORIES, images=3, first=1):
    """The JSON of a split: one object an image, classes in turn, box and polygon alike."""
    data = {"images": [], "annotations": [], "categories": [dict(entry) for entry in categories]}
    for number in range(images):
        box = [4.0 + 8 * number, 6.0, 16.0, 20.0]
        left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
        data["images"].append({"id": first + number, "file_name": f"{number}.png", "width": SIZE[0], "height": SIZE[1]})
        data["annotations"].append(
            {
                "id": 100 + number,
                "image_id": first + number,
                "category_id": categories[number % len(categories)]["id"],
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
            }
        )
    return data


def write_coco(root: Path, split: str, data, *, folder=None, name=None):
    """Annotations and images; an image is white where its objects are."""
    path = root / "annotations" / (name or f"{split}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    for entry in data["images"]:
        boxes = [a["bbox"] for a in data["annotations"] if a["image_id"] == entry["id"]]
        draw(root / (folder or split) / entry["file_name"], boxes)


def write_voc(root: Path, splits: dict[str, list[str]], annotations: dict[str, list[tuple]]):
    """``annotations``: image name to [(class, xmin, ymin, xmax, ymax, difficult)]."""
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    for name, objects in annotations.items():
        (root / "Annotations" / f"{name}.xml").write_text(voc_xml(name, objects))
        draw(root / "JPEGImages" / f"{name}.jpg", [])


def voc_xml(name, objects):
    entries = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, x1, y1, x2, y2, difficult in objects
    )
    return (
        f"<annotation><filename>{name}.jpg</filename><size><width>{SIZE[0]}</width><height>{SIZE[1]}</height>"
        f"<depth>3</depth></size>{entries}</annotation>"
    )
