"""What an evaluation leaves in its folder, whatever was predicted."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsmixer.data.bad import write_bad
from dsmixer.engine.checkpoint import write_atomically

MADE_HERE = (
    "evaluation.json",
    "per_class.csv",
    "confusion.png",
    "calibration.png",
    "predictions.png",
    "masks.png",
    "sizes.png",
    "results_bbox.json",
    "results_segm.json",
    "bad_files.csv",
)


def write(folder: Path, result: dict[str, Any], draw: Callable[[Path], Any], bad: dict[str, str]) -> None:
    """evaluation.json, per_class.csv, bad_files.csv where there are any, and the pictures, in place of earlier ones.

    ``result`` holds plain values, of each class a row in ``per_class``; None stands for a number without meaning.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in MADE_HERE:
        (folder / name).unlink(missing_ok=True)
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items())
    write_atomically(folder / "evaluation.json", f"{{\n{lines}\n}}\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, list(result["per_class"][0]), restval="", lineterminator="\n")
    writer.writeheader()
    for row in result["per_class"]:
        writer.writerow({key: "n/a" if value is None else value for key, value in row.items()})
    write_atomically(folder / "per_class.csv", table.getvalue())
    if bad:
        write_bad(folder / "bad_files.csv", bad)
    draw(folder)
