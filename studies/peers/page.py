"""Put the tables of the runs into the pages, between `<!-- table RECIPE -->` and `<!-- /table -->`; a test compares.

uv run python -m studies.peers.page
"""

import csv
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from studies.peers.run import TABLES

PAGES = tuple(path.parents[1] / name / "README.md" for path in [Path(__file__)] for name in ("peers", "dense"))
TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)
SCORES = {
    "cifar10": {"test_accuracy": "top-1, %"},
    "tiny_imagenet_100": {"test_accuracy": "top-1, %"},
    "camvid": {"test_mIoU": "mIoU, %", "test_boundary_IoU": "boundary IoU, %", "test_aAcc": "pixel accuracy, %"},
    "bccd": {"test_AP": "AP", "test_AP50": "AP50", "test_AP75": "AP75"},
}


def markdown(recipe: str) -> str:
    """Rows of a recipe, the best first; means over seeds, from three on with their standard deviation."""
    path, scores = TABLES[recipe], SCORES[recipe]
    if not path.is_file():
        return "Nothing has been trained yet.\n"
    runs = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            runs[row["model"], row["start"]].append(row)
    first = next(iter(scores))
    order = sorted(runs, key=lambda key: -mean(float(row[first]) for row in runs[key]))
    lines = [
        "| network | start | seeds | parameters, M | MACs, M | "
        + " | ".join(scores.values())
        + " | training, images/s |",
        "|---|---|---|---|---|" + "---|" * (len(scores) + 1),
    ]
    for model, start in order:
        rows = runs[model, start]
        size = f"{int(rows[0]['parameters']) / 1e6:.2f} | {int(rows[0]['macs']) / 1e6:.0f}"
        values = " | ".join(_spread([100 * float(row[name]) for row in rows]) for name in scores)
        speed = mean(float(row["train_images_per_s"]) for row in rows)
        lines.append(f"| `{model}` | {start} | {len(rows)} | {size} | {values} | {speed:.0f} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 2 else "")


def with_tables(text: str) -> str:
    """A page with its tables made anew."""
    return TABLE.sub(lambda match: f"{match[1]}{markdown(match[2])}{match[3]}", text)


def main() -> None:
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))


if __name__ == "__main__":
    main()
