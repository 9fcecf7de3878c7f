"""What kind of data lies in a folder: recognized by looking at names, so it answers at once and before torch."""

import os
from typing import NamedTuple

from dsmixer.data.folder import is_image, listing, split_folders
from dsmixer.data.parquet import FILE_NAME

EXPECTED = (
    "expected class folders (with or without train/ and val/), train.parquet and test.parquet, or train-000000.tar"
)


class Layout(NamedTuple):
    """ "folder", "parquet" or "shards", where it begins, and what is worth saying about it."""

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
    kinds = {"parquet": parquet, "shards": [name for name in files if name.endswith(".tar")], "folder": folders}
    there = {kind: names[0] for kind, names in kinds.items() if names}
    if len(there) > 1:
        raise ValueError(
            f"{root} holds {' and '.join(there.values())}; say which with --data.name {' or '.join(there)}"
        )
    if there and not folders:
        return Layout(next(iter(there)), root)
    if not folders:
        loose = sum(map(is_image, files))
        there = f"{loose:,} images, but no class folders" if loose else "neither images nor folders"
        raise ValueError(f"{root} holds {there}; {EXPECTED}")
    inner = os.path.join(root, folders[0])
    if len(folders) == 1 and depth and not split_folders(root) and not any(map(is_image, listing(inner)[1])):
        found = recognize(inner, depth - 1)
        return found._replace(notes=(f"found in {inner}", *found.notes)) if found.root == inner else found
    return Layout("folder", root)
