"""Layouts of others, told by names: taken for class folders, train and test would become two classes."""

import os

from dsmixer.data.folder import SPLITS, is_image, listing

LISTS = ("metadata.csv", "metadata.jsonl")  # Hugging Face imagefolder
BOXES = "_annotations.coco.json"  # Roboflow
BESIDE = ("labels", "masks", "annotations")  # what lies beside images/, as YOLO has labels/
PATH_AND_LABEL = "a CSV file with the columns path and label"
DENSE = "images/train and annotations/train (masks), or annotations/train.json beside train/ (boxes)"


def foreign(root: str, folders: list[str], files: list[str]) -> str:
    """What lies in ``root`` and what would work, as a sentence about it goes on; "" where class folders may be."""
    splits = [name for split in SPLITS for name in folders if name.lower() == split]
    inner = {name: listing(os.path.join(root, name)) for name in splits}
    for place, (below, names) in {"": (folders, files), **inner}.items():
        if told := _annotated(place, below) or (place and _listed(root, place, below, names)):
            return told
    flat = [name for name, (below, names) in inner.items() if not below and any(map(is_image, names))]
    return _flat(flat, files, with_classes=any(SPLITS[name.lower()] == "train" and inner[name][0] for name in inner))


def _annotated(place: str, folders: list[str]) -> str:
    """Images here, what they are annotated with there."""
    known = {name.lower(): name for name in folders}
    pairs = [("images", beside) for beside in BESIDE] + [(split, f"{split}annot") for split in SPLITS]
    for images, beside in pairs:
        if images in known and beside in known:
            both = " and ".join(os.path.join(place, known[name], "") for name in (images, beside))
            return f"holds {both}, images and their annotations, not classes; expected for those are {DENSE}"
    return ""


def _listed(root: str, place: str, folders: list[str], files: list[str]) -> str:
    """A file in a split that says what is on the images beside it."""
    if BOXES in files:
        return f"holds {place}/{BOXES}, boxes as Roboflow has them; expected are annotations/train.json beside train/"
    found = next((name for name in LISTS if name in files), None)
    if found is None or len(folders) > 1:  # class folders say it, too
        return ""
    path = os.path.join(place, found)
    if found.endswith(".csv"):
        return f"holds {path}, a list of the images; read it with --data.root {os.path.join(root, path)}"
    return f"holds {path}, a list of the images; write it as {PATH_AND_LABEL}"


def _flat(flat: list[str], files: list[str], with_classes: bool) -> str:
    """Splits in which images lie without class folders; one alone may be a class."""
    if flat and with_classes:
        return (
            f"holds {flat[0]}/ with images, but no class folders in it, beside a train that has them; sort them into "
            f"{flat[0]}/CLASS/, list all in a CSV file with the columns path, label and split, or move them away"
        )
    beside = next((f"{name}.csv" for name in flat if f"{name}.csv" in files), None)
    if beside:
        return f"holds {beside} beside {beside[:-4]}/, but not {PATH_AND_LABEL} (such as {beside[:-4]}/1.jpg,cat)"
    if len({SPLITS[name.lower()] for name in flat}) > 1:
        return f"has no class folders in {', '.join(flat)}; {flat[0]}/CLASS/ is expected, or {PATH_AND_LABEL}"
    return ""
