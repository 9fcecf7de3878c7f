"""Test finished runs at other sizes of the input, and pixels through windows too, and write down what came of each.

    OMP_NUM_THREADS=1 uv run python -m studies.peers.sizes cifar10 camvid --runs FOLDER
    uv run python -m studies.peers.page

FOLDER is that of `studies.peers.run`; runs of seed 0 are tested, by `dsmixer evaluate`, and each only once.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from studies.peers.run import FOLDERS, TABLES, finished, write

OPTIONS = {
    "cifar10": ["--sizes", "0.75", "1", "1.5"],
    "tiny_imagenet_100": ["--sizes", "0.75", "1", "1.5"],
    "camvid": ["--sizes", "1.5", "2", "--window", "160"],
    "bccd": ["--sizes", "1.5", "2"],
}


def table(recipe: str) -> Path:
    """Where the results lie."""
    return TABLES[recipe].with_stem(f"{recipe}_sizes")


def evaluated(folder: Path, options: list[str]) -> dict:
    """What `dsmixer evaluate` says of a run, now or before."""
    out = folder / "sizes"
    if not (out / "evaluation.json").is_file():
        command = [sys.executable, "-m", "dsmixer.cli", "evaluate", str(folder), "--out", str(out), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "evaluation.json").read_text())


def scores(found: dict) -> dict[str, float]:
    """Top-1, mIoU or AP, by the way the images were looked at."""
    if "looks" in found:
        return {row["look"]: row["mIoU"] for row in found["looks"]}
    if "image_size" in found:
        return {f"{row['pixels']} pixels": row["top1"] for row in found["sizes"]}
    return {f"{row['size']:g} times as large": row["AP"] for row in found["sizes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", choices=FOLDERS)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    asked = parser.parse_args()
    for recipe in asked.recipes:
        rows = [
            {"recipe": recipe, "model": run.model, "start": run.start, "look": look, "score": round(score, 4)}
            for run in finished(asked.runs, recipe)
            if run.seed == 0
            for look, score in scores(evaluated(run.folder, OPTIONS[recipe])).items()
        ]
        if rows:
            write(table(recipe), rows)


if __name__ == "__main__":
    main()
