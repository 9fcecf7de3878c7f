"""Pascal VOC XML: `JPEGImages/`, `Annotations/*.xml`, and the splits in `ImageSets/Main/*.txt`.

A box's xmin, ymin, xmax, ymax are numbers of pixels counted from 1, both ends included (VOC2012 development kit), so
(1, 1, W, H) is the whole image and becomes (0, 0, W, H). Objects marked difficult are asked of nobody, as there.
"""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from dsmixer.data.boxes.findings import DEGENERATE, UNKNOWN_CLASS, Findings
from dsmixer.data.boxes.source import BoxedImages, Collector
from dsmixer.data.folder import SUFFIXES
from dsmixer.data.source import read_text


def find_voc(root: str) -> dict[str, list[str]]:
    """The image names of each split. Without train.txt, trainval.txt is train and val.txt, being part of it, is not."""
    lists = Path(root) / "ImageSets" / "Main"
    found = {split: _names(lists / f"{split}.txt") for split in ("train", "val", "test")}
    if not found["train"]:
        found |= {"train": _names(lists / "trainval.txt"), "val": []}
    found = {split: names for split, names in found.items() if names}
    if "train" not in found or len(found) < 2:
        there = ", ".join(sorted(found)) or "no list named after a split"
        raise ValueError(f"{lists} holds {there}; expected train.txt or trainval.txt, and test.txt or val.txt")
    return found


class Annotation(NamedTuple):
    """One XML file: what it says, before anything is judged."""

    file_name: str | None
    width: int
    height: int
    objects: list[tuple[str, list[float], bool]]  # class name, box as written, difficult


def open_voc(root: str) -> dict[str, BoxedImages]:
    """Every split; the classes are the names found in train, sorted. No image is opened.

    ``ValueError`` for a file that is not VOC's XML. Faults of single entries are in each split's ``findings``.
    """
    splits = {split: read_annotations(Path(root), names) for split, names in find_voc(root).items()}
    classes = sorted({label for annotation in splits["train"].values() for label, _, _ in annotation.objects})
    return {split: _collect(Path(root), split, annotations, classes) for split, annotations in splits.items()}


def read_annotations(root: Path, names: list[str]) -> dict[str, Annotation]:
    """The annotation of each image; ``ValueError`` naming the file that is not one, for a DTD too."""
    folder = (root / "Annotations").resolve()
    annotations = {}
    for name in names:
        path = (folder / f"{name}.xml").resolve()
        if not path.is_relative_to(folder):
            raise ValueError(f"{name} in ImageSets/Main leads out of {folder}")
        if not path.is_file():
            raise ValueError(f"{name} stands in ImageSets/Main, but there is no {path}")
        try:
            annotations[name] = parse(path.read_bytes())
        except (ElementTree.ParseError, ValueError, OSError, OverflowError) as error:
            raise ValueError(f"{path} is not a Pascal VOC annotation: {error}") from error
    return annotations


class _NoDoctype(ElementTree.TreeBuilder):
    """Annotations need no document type; one can make a small file grow without bound, or read other files."""

    def doctype(self, *_: str | None) -> None:
        raise ValueError("it declares a document type, which no annotation needs")


def parse(data: bytes) -> Annotation:
    """One annotation from its XML; ``ValueError`` or ``ParseError`` where it is none."""
    tree = ElementTree.fromstring(data, ElementTree.XMLParser(target=_NoDoctype()))
    objects = [
        (
            _text(entry, "name"),
            [_number(entry, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")],
            entry.findtext("difficult", "0").strip() == "1",
        )
        for entry in tree.iter("object")
    ]
    return Annotation(
        tree.findtext("filename"), int(_number(tree, "size/width")), int(_number(tree, "size/height")), objects
    )


def _names(path: Path) -> list[str]:
    """One a line; a name may have spaces."""
    lines = read_text(path).splitlines() if path.is_file() else []
    return [line.strip() for line in lines if line.strip()]


def _text(entry: ElementTree.Element, path: str) -> str:
    text = (entry.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"<{entry.tag}> has no <{path}>")
    return text


def _number(entry: ElementTree.Element, path: str) -> float:
    text = _text(entry, path)
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"<{path}> is {text!r}, not a number") from error


def _collect(root: Path, split: str, annotations: dict[str, Annotation], classes: list[str]) -> BoxedImages:
    collector, images = Collector(Findings(split), classes), root / "JPEGImages"
    for row, (name, annotation) in enumerate(annotations.items()):
        # some tools write the file's name without its ending, or as it was before it was renamed
        likely = [annotation.file_name, *(f"{name}{suffix}" for suffix in sorted(SUFFIXES))]
        file_name = next((file for file in likely if file and (images / file).is_file()), f"{name}.jpg")
        collector.add_image(row + 1, file_name, annotation.width, annotation.height)
        for number, (label, box, difficult) in enumerate(annotation.objects, 1):
            _add_object(collector, row, label, box, difficult, f"object {number}")
    return collector.finish(root, images, list(range(1, len(classes) + 1)))


def _add_object(collector: Collector, row: int, label: str, box: list[float], difficult: bool, name: str) -> None:
    left, top, right, bottom = box
    if label not in collector.classes:
        collector.findings.add(UNKNOWN_CLASS, f"{name} in {collector.names[row]}, of {label!r}")
    elif right == left or bottom == top:
        # counted from 1 it would be one pixel wide, but it is what a slip of the mouse leaves
        collector.findings.add(DEGENERATE, f"{name} in {collector.names[row]}: {left:g} {top:g} {right:g} {bottom:g}")
    else:
        collector.add_object(
            row,
            collector.classes.index(label),
            [left - 1, top - 1, right, bottom],
            crowd=difficult,
            area=None,
            segmentation=None,
            name=name,
        )
