"""Put the tables of the runs into the pages, between `<!-- table RECIPE -->` or `<!-- sizes RECIPE -->` and
`<!-- /table -->`; a test compares.

uv run python -m studies.peers.page
"""

import csv
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from studies.peers import sizes
from studies.peers.run import TABLES

PAGES = tuple(path.parents[1] / name / "README.md" for path in [Path(__file__)] for name in ("peers", "dense"))
TABLE = re.compile(r"(<!-- (table|sizes) (\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)
NOTHING = "Nothing has been trained yet.\n"
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
        return NOTHING
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


def by_size(recipe: str) -> str:
    """A row for each run, a column for each way to look; in percent."""
    if not sizes.table(recipe).is_file():
        return NOTHING
    runs = defaultdict(dict)
    with sizes.table(recipe).open(newline="") as file:
        for row in csv.DictReader(file):
            runs[row["model"], row["start"]][row["look"]] = f"{100 * float(row['score']):.2f}"
    looks = list(next(iter(runs.values())))
    lines = [f"| network | start | {' | '.join(looks)} |", "|---|---|" + "---|" * len(looks)]
    for (model, start), scores in runs.items():
        lines.append(f"| `{model}` | {start} | {' | '.join(scores[look] for look in looks)} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 2 else "")


def with_tables(text: str) -> str:
    """A page with its tables made anew."""
    made = {"table": markdown, "sizes": by_size}
    return TABLE.sub(lambda match: f"{match[1]}{made[match[2]](match[3])}{match[4]}", text)


def main() -> None:
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))


if __name__ == "__main__":
    main()
