"""What kind of data lies in a folder: recognized by looking at names, so it answers at once and before torch."""

import os
from typing import NamedTuple

from dsmixer.data.folder import is_image, listing, split_folders
from dsmixer.data.parquet import FILE_NAME

EXPECTED = "expected class folders (with or without train/ and val/) or train.parquet and test.parquet"


class Layout(NamedTuple):
    """ "folder" or "parquet", where it begins, and what is worth saying about it."""

    kind: str
    root: str
    notes: tuple[str, ...] = ()


def recognize(root: str, depth: int = 3) -> Layout:
    """Look at the names in ``root``; ``ValueError`` where they are no data set, or two of them.

    A folder in which only another one lies, as unpacking an archive leaves it, is gone through.
    """
    if not os.path.isdir(root):
        raise ValueError(f"{root} is not a folder; {EXPECTED}")
    folders, files = listing(root)
    parquet = [name for name in files if FILE_NAME.fullmatch(name)]
    if parquet and folders:
        raise ValueError(
            f"{root} holds {parquet[0]} and the folder {folders[0]}; say which with --data.name parquet or folder"
        )
    if parquet:
        return Layout("parquet", root)
    if not folders:
        loose = sum(map(is_image, files))
        there = f"{loose:,} images, but no class folders" if loose else "neither images nor folders"
        raise ValueError(f"{root} holds {there}; {EXPECTED}")
    inner = os.path.join(root, folders[0])
    if len(folders) == 1 and depth and not split_folders(root) and not any(map(is_image, listing(inner)[1])):
        found = recognize(inner, depth - 1)
        return found._replace(notes=(f"found in {inner}", *found.notes)) if found.root == inner else found
    return Layout("folder", root)
