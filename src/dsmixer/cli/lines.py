"""Predictions as lines of text, and as pictures in a folder."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from PIL import Image

    from dsmixer.inference.stream import Prediction


def jsonl(file: TextIO, _top_k: int) -> Callable[[Any], None]:
    """A JSON object an image, of anything that has ``to_dict``."""
    return lambda prediction: print(json.dumps(prediction.to_dict()), file=file)


def table(file: TextIO, top_k: int) -> Callable[["Prediction"], None]:
    """CSV: an image, its classes and their probabilities, an error."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["image", *(f"{what}_{k}" for k in range(1, top_k + 1) for what in ("class", "probability")), "error"]
    )

    def write(prediction: "Prediction") -> None:
        cells = [cell for name, probability in prediction.top for cell in (name, round(probability, 6))]
        writer.writerow([prediction.name, *cells, *[""] * (2 * top_k - len(cells)), prediction.error or ""])

    return write


LINES: dict[str, Callable[[TextIO, int], Callable[[Any], None]]] = {"jsonl": jsonl, "csv": table}


class PictureFolder:
    """PNG files named after the images they are made from; a second image of a name gets a number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, name: str, picture: "Image.Image") -> None:
        """``name`` is a path, an address, or any other name of an input."""
        stem = re.sub(r"[^\w. -]", "_", Path(name.rstrip("/")).stem)[:100] or "image"
        number, free = 1, stem
        while free.lower() in self.taken:  # for file systems that take A.png for a.png
            number += 1
            free = f"{stem}-{number}"
        self.taken.add(free.lower())
        picture.save(self.folder / f"{free}.png")
