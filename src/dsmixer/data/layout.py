"""What kind of data lies in a folder: recognized by looking at names, so it answers at once and before torch."""

import os
from typing import NamedTuple

from dsmixer.data.boxes.coco import FILE_NAME as COCO
from dsmixer.data.csvfile import SUFFIXES as CSV
from dsmixer.data.csvfile import find_csv
from dsmixer.data.folder import is_image, listing, split_folders, split_of
from dsmixer.data.foreign import foreign
from dsmixer.data.parquet import FILE_NAME
from dsmixer.data.shards import COMPRESSED, INDEX

EXPECTED = (
    "expected class folders (with or without train/ and val/), train.parquet, tar shards, or a CSV file "
    "with the columns path and label"
)

# what the command line has for these; a test compares
INSTEAD = {
    "boxes": "set model.head to fasterrcnn, maskrcnn, retinanet or fcos, as --recipe coco_retinanet_1x does",
    "masks": "set model.head to upernet or semantic_fpn, as --recipe ade20k_fpn does",
}
PACKED = (".zip", *COMPRESSED, ".7z", ".rar")
INSIST = "--data.name folder insists on class folders; dsmixer check and pack: --name folder"
SHOWN = 5  # names in a sentence


class Layout(NamedTuple):
    """ "folder", "parquet", "shards" or "csv", where it begins, and what is worth saying about it."""

    kind: str
    root: str
    notes: tuple[str, ...] = ()


def recognize(root: str, depth: int = 3) -> Layout:
    """Look at the names in ``root``; ``ValueError`` where they are no data set for a classifier, or two of them.

    A list of images wins over the folders beside it, in which the images are. A folder in which only another one lies,
    as unpacking an archive leaves it, is gone through.
    """
    if os.path.isfile(root) and root.lower().endswith(CSV):
        return Layout("csv", root)
    if not os.path.isdir(root):
        raise ValueError(f"{root} {no_folder(root)}; {EXPECTED}")
    folders, files = listing(root)
    tars, unpacked = _tars(root, folders, files)
    kinds = {
        "parquet": next(filter(FILE_NAME.fullmatch, files), None),
        "shards": next(iter(tars), None),
        "csv": next(map(os.path.basename, find_csv(root)), None),
    }
    found = {kind: name for kind, name in kinds.items() if name}
    if len(found) > 1 or ("parquet" in found and folders) or ("shards" in found and unpacked):
        several = [*found.values(), *folders][:2]
        known = " or ".join([*sorted(found), *(["folder"] if folders else [])])
        raise ValueError(f"{root} holds {' and '.join(several)}; say what to read: --data.name {known}")
    if not found and (kind := dense_kind(root)):
        raise ValueError(f"{root} {found_in(root)}, from which no classifier learns; {INSTEAD[kind]}")
    if found:
        kind = min(found)
        notes = (f"{kinds['csv']} says which images",) if kind == "csv" and folders else ()
        return Layout(kind, root, notes)
    if not folders:
        loose = sum(map(is_image, files))
        there = f"{loose:,} images, but no class folders" if loose else "neither images nor folders"
        raise ValueError(f"{root} holds {there}; {EXPECTED}")
    if told := foreign(root, folders, files):
        raise ValueError(f"{root} {told} ({INSIST})")
    inside = _inside(root, folders, depth)
    archives = [f"{name} beside the folders is an archive: left out" for name in files if name.endswith(COMPRESSED)]
    return inside._replace(notes=(*archives[:SHOWN], *inside.notes))


def dense_kind(root: str) -> str:
    """ "boxes" or "masks" where the names in a folder say that its images are annotated so, else ""."""
    if not os.path.isdir(root):
        return ""
    folders = listing(root)[0]
    if os.path.isdir(os.path.join(root, "ImageSets", "Main")):
        return "boxes"
    if "annotations" not in folders:
        return ""
    if any(map(COCO.fullmatch, listing(os.path.join(root, "annotations"))[1])):
        return "boxes"
    return "masks" if "images" in folders else ""


def found_in(root: str) -> str:
    """What lies there, as a sentence about ``root`` goes on, for whoever expected something else."""
    if not os.path.isdir(root):
        return no_folder(root)
    if kind := dense_kind(root):
        return f"is annotated with {kind}"
    folders, files = listing(root)
    names = [*(f"{name}/" for name in folders), *files]
    return f"holds {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}" if names else "is empty"


def no_folder(path: str) -> str:
    """What a path is that is no folder, and what would work, as a sentence about it goes on."""
    if not os.path.exists(path):
        return "does not exist"
    name = path.lower()
    if name.endswith(PACKED):
        return "is not a folder but an archive: unpack it, and give the folder"
    if name.endswith((".parquet", ".tar")):
        return (
            f"is not a folder but one file of a data set: give the folder that holds it, {os.path.dirname(path) or '.'}"
        )
    return "is not a folder"


def _inside(root: str, folders: list[str], depth: int) -> Layout:
    inner = os.path.join(root, folders[0])
    if len(folders) > 1 or not depth or split_folders(root) or any(map(is_image, listing(inner)[1])):
        return Layout("folder", root)
    found = recognize(inner, depth - 1)
    return found._replace(notes=(f"found in {inner}", *found.notes)) if found.root == inner else found


def _tars(root: str, folders: list[str], files: list[str]) -> tuple[list[str], bool]:
    """Tar files, also in folders called train, val, test; and whether images lie unpacked beside them.

    Beside images a compressed one is taken for what they came in. An index says that shards are meant.
    """
    inner = [name for folder in folders if split_of(folder) for name in listing(os.path.join(root, folder))[1]]
    found = [name for name in (*files, *inner) if name.endswith((".tar", *COMPRESSED))]
    unpacked = bool(found) and INDEX not in files and _images_within(root)
    return [name for name in found if name.endswith(".tar") or not unpacked], unpacked


def _images_within(root: str, depth: int = 3) -> bool:
    """Whether images lie in a folder in this one, or in one below; the first that is found is enough."""
    inner = [os.path.join(root, name) for name in listing(root)[0]]
    return any(
        any(map(is_image, listing(folder)[1])) or (depth and _images_within(folder, depth - 1)) for folder in inner
    )
