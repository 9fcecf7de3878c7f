"""Train DSM and its peers by a recipe, one run after the other, and write down what came of each.

    OMP_NUM_THREADS=1 uv run python -m studies.peers.run cifar10 tiny_imagenet_100 --runs FOLDER
    OMP_NUM_THREADS=1 uv run python -m studies.peers.run camvid bccd --runs FOLDER --starts scratch tiny_imagenet_100

A run is `dsmixer train --recipe RECIPE` with another `model.name`, in FOLDER/RECIPE-MODEL-START-SEED; one that was
stopped goes on, a finished one is only read. START is `scratch`, or the recipe whose run of the same model and seed 0
gives the backbone its weights. Data lies in ../shared/data, or where DSMIXER_DATA points. Two such commands, with other
models, may run side by side. `--collect` trains nothing. Each recipe has its table, beside this file or in
studies/dense; `studies.peers.page` puts them into the pages.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from dsmixer.cli.models import cost
from dsmixer.inference.loading import network_of
from dsmixer.weights import read_about

HERE = Path(__file__).parent
DATA = Path(os.environ.get("DSMIXER_DATA", HERE.parents[2] / "shared/data"))
FOLDERS = {"cifar10": "cifar10", "tiny_imagenet_100": "tiny-imagenet-100", "camvid": "camvid", "bccd": "bccd"}
TABLES = {
    "cifar10": HERE / "cifar10.csv",
    "tiny_imagenet_100": HERE / "tiny_imagenet_100.csv",
    "camvid": HERE.parent / "dense" / "camvid.csv",
    "bccd": HERE.parent / "dense" / "bccd.csv",
}
# of about 2 million parameters: a network of ours, a ConvNeXt, a hybrid with attention, a ResNet made narrower
MODELS: dict[str, dict[str, object]] = {
    "dsm_zepto": {},
    "convnext_zepto_rms": {},
    "edgenext_x_small": {},
    "resnet18": {"channels": [28, 56, 112, 224]},
}


def options(recipe: str, model: str, start: str, seed: int, runs: Path) -> list[str]:
    """What `dsmixer train` is told beside the folder of the run."""
    asked = [f"--recipe={recipe}", f"--data.root={DATA / FOLDERS[recipe]}", f"--run.seed={seed}"]
    asked += [] if model == "dsm_zepto" else [f"--model.name={model}", "--run.channels_last=true"]  # faster for them
    asked += [f"--model.kwargs={json.dumps(MODELS[model])}"] if MODELS[model] else []
    asked += [] if start == "scratch" else [f"--model.weights={runs / f'{start}-{model}-scratch-0'}"]
    return asked


def train(folder: Path, asked: list[str]) -> None:
    """Begin a run, or go on with it; raises where that fails."""
    if (folder / "result.json").is_file():
        return
    begun = [f"--resume={folder}"] if (folder / "config.yaml").is_file() else [*asked, f"--out={folder}"]
    with folder.with_suffix(".log").open("a") as log:
        command = [sys.executable, "-m", "dsmixer.cli", "train", *begun]
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)


def macs(weights: Path) -> int:
    """Forward multiplications of a finished network, its head included, for an image as the recipe tests it."""
    about = read_about(weights)
    if about.head is None:
        side = about.image_size
        return cost(about.architecture, side, side, num_classes=about.num_classes, **about.model_kwargs).macs
    short = about.short_side or about.head_kwargs["min_size"]
    image = torch.zeros(3, short, short * 4 // 3)  # both data sets have 4:3
    with torch.inference_mode(), FlopCounterMode(display=False) as flops:
        network_of(about).eval()(image[None] if about.short_side else [image])
    return flops.get_total_flops() // 2


class Finished(NamedTuple):
    """A run that came to its end."""

    folder: Path
    model: str
    start: str
    seed: int


def finished(runs: Path, recipe: str) -> list[Finished]:
    """All finished runs of a recipe."""
    found = []
    for folder in sorted(runs.glob(f"{recipe}-*")):
        if (folder / "result.json").is_file():
            model, start, seed = folder.name.removeprefix(f"{recipe}-").split("-")
            found.append(Finished(folder, model, start, int(seed)))
    return found


def rate(folder: Path) -> float:
    """Training images a second in the middling epoch: the run may have been paused in another."""
    with (folder / "metrics.csv").open(newline="") as file:
        return round(median(float(epoch["images_per_second"]) for epoch in csv.DictReader(file)), 1)


def row(recipe: str, run: Finished) -> dict[str, object]:
    """What a finished run says of itself, and its network's MACs."""
    result = json.loads((run.folder / "result.json").read_text())
    return {
        "recipe": recipe,
        "model": run.model,
        "start": run.start,
        "seed": run.seed,
        "epochs": result["epochs"],
        "parameters": result["parameters"],
        "macs": macs(run.folder / "model.safetensors"),
        "train_images_per_s": rate(run.folder),
        **{f"test_{name}": round(value, 4) for name, value in result["test"].items()},
    }


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """The table of one recipe, in place of the one before."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", choices=FOLDERS)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--starts", nargs="+", choices=("scratch", "tiny_imagenet_100"), default=["scratch"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--collect", action="store_true", help="train nothing, read what is finished")
    asked = parser.parse_args()
    for recipe, model, start, seed in product(asked.recipes, asked.models, asked.starts, asked.seeds):
        if not asked.collect:
            folder = asked.runs / f"{recipe}-{model}-{start}-{seed}"
            train(folder, options(recipe, model, start, seed, asked.runs))
    for recipe in asked.recipes:
        if rows := [row(recipe, run) for run in finished(asked.runs, recipe)]:
            write(TABLES[recipe], rows)


if __name__ == "__main__":
    main()
