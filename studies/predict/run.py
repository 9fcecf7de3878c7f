"""How fast, and in how much memory, `dsmixer predict` reads files, beside `dsmixer evaluate` on the same.

uv run python studies/predict/run.py     # writes results.csv
"""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

RESULTS = Path(__file__).with_name("results.csv")
CLASSES = ("n01443537 goldfish", "n07753592 banana")  # of the default weights; which ones does not matter here
WATCHED = """
import resource, sys
from dsmixer.cli import main
code = main(sys.argv[1:])
print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} kB", file=sys.stderr)
sys.exit(code)
"""


def make(root: Path, count: int) -> list[Path]:
    """Noise on gradients, 320x240, JPEG, in two class folders of one split."""
    random, paths = np.random.default_rng(0), []
    ramp = np.linspace(0, 200, 320)[None, :, None] * np.linspace(0, 1, 240)[:, None, None]
    for number in range(count):
        path = root / "test" / CLASSES[number % 2] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = ramp[:: random.choice([1, -1]), :: random.choice([1, -1])] + random.integers(0, 56, (240, 320, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return paths


def watched(*arguments: str) -> tuple[str, float]:
    """What a command says on standard error, and its peak memory in MB."""
    command = [sys.executable, "-c", WATCHED, *arguments, "--threads", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stderr, int(re.findall(r"peak (\d+) kB", done.stderr)[-1]) / 1000


def main() -> None:
    """Each command once, one after the other."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "images", Path(folder) / "evaluation"
        paths = list(map(str, make(root, 1000)))
        for count in (128, 1000):
            said, peak = watched("predict", *paths[:count], "--out", f"{folder}/{count}.jsonl")
            rate = re.search(r"\(([\d,]+) images/s\)", said)[1].replace(",", "")
            rows.append({"command": "predict", "images": count, "images_per_s": rate, "peak_mb": round(peak)})
        (root / "test").rename(root / "train")
        split = ["--split", "all", "--data.root", str(root), "--out", str(out), "--sizes"]
        _, peak = watched("evaluate", "dsm_zepto.tiny_imagenet_100", *split)
        found = json.loads((out / "evaluation.json").read_text())
        rate = round(found["speed"]["images_per_second"])
        rows.append({"command": "evaluate", "images": 1000, "images_per_s": rate, "peak_mb": round(peak)})
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(RESULTS.read_text(), end="")


if __name__ == "__main__":
    os.environ.pop("DSMIXER_WEIGHTS", None)
    main()
