"""Draw what a trained segmenter or detector answers on its test images: the best, a middling one, and its failures.

    uv run python -m studies.dense.draw RUN FOLDER docs/pictures/camvid.png

FOLDER holds the data of the run. All test images are answered and put in order, pixels by the share that is right,
objects by F1 (at a score and an IoU of 0.5); those at 0, 10, 50 and 100 % of it are drawn. The photos belong to their
data sets and are left out; `dsmixer evaluate RUN` draws the same over them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image
from torchvision.ops import box_iou

import dsmixer
from dsmixer.config import FIND_OBJECTS, MasksConfig
from dsmixer.data.boxes.survey import open_boxes
from dsmixer.data.masks.folders import open_masks
from dsmixer.tasks.mask_pictures import class_colors, mistakes

PLACES = {"worst": 0.0, "a tenth are worse": 0.1, "median": 0.5, "best": 1.0}
SURE, OVERLAP = 0.5, 0.5
COLORS = {"found": "#2a6f4e", "false": "#b3261e", "missed": "#1f4fbf"}


class Answered(NamedTuple):
    """A test image: how good the answer is, from 0 to 1, and how to draw it into some axes."""

    score: float
    name: str
    draw: Callable[[list[Axes]], None]


def pixels(model: Any, config: dict[str, Any], root: Path) -> tuple[list[Answered], list[Patch]]:
    """Every test image of a segmenter, and what its colors mean."""
    coding = MasksConfig(**config["masks"]).coding
    split, colors = open_masks(root, val_fraction=0.1, **coding).test, class_colors(len(model.classes))

    def answer(row: int) -> Answered:
        image, truth = split.source.pair(row, "RGB")
        (found,) = model.predict(image)
        right = float((found.mask == truth)[truth >= 0].mean())

        def draw(axes: list[Axes]) -> None:
            axes[0].imshow(colors[found.mask])
            axes[1].imshow(mistakes(Image.new("RGB", image.size, "white"), truth, found.mask))

        return Answered(right, split.source.name(row), draw)

    patches = [Patch(color=colors[place] / 255, label=name) for place, name in enumerate(model.classes)]
    return [answer(row) for row in split.rows], [
        *patches,
        Patch(color="red", label="wrong"),
        Patch(color="black", label="not scored"),
    ]


def objects(model: Any, config: dict[str, Any], root: Path) -> tuple[list[Answered], list[Patch]]:
    """Every test image of a detector, and what its colors mean."""
    split = open_boxes(str(root), config["data"]["val_fraction"]).test

    def answer(row: int) -> Answered:
        image, truth = split.source.image(row, "RGB"), split.source.objects(row)
        (prediction,) = model.predict(image, min_score=SURE)
        hit, known = match(prediction.found, truth.boxes, truth.labels)

        def draw(axes: list[Axes]) -> None:
            for shown, good in zip(axes, (True, False), strict=True):
                shown.imshow(Image.new("L", image.size, 255), cmap="gray", vmin=0, vmax=255)
                boxes = [(box, "found" if good else "false") for box in prediction.found.boxes[hit == good]]
                boxes += [] if good else [(box, "missed") for box in truth.boxes[~known]]
                for (left, top, right, bottom), kind in boxes:
                    shown.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=COLORS[kind]))

        f1 = 2 * hit.sum() / max(len(hit) + len(known), 1)
        return Answered(float(f1), split.source.name(row), draw)

    return [answer(row) for row in split.rows], [Patch(color=color, label=kind) for kind, color in COLORS.items()]


def match(found: Any, boxes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which detections are right, and which objects are found; the surest detection chooses first."""
    hit, known = np.zeros(len(found.boxes), bool), np.zeros(len(boxes), bool)
    overlaps = box_iou(torch.as_tensor(found.boxes).double(), torch.as_tensor(boxes).double()).numpy()
    for place in np.argsort(-found.scores, kind="stable"):
        free = np.where((labels == found.labels[place]) & ~known, overlaps[place], 0.0)
        if len(free) and free.max() >= OVERLAP:
            hit[place], known[free.argmax()] = True, True
    return hit, known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("picture", type=Path)
    asked = parser.parse_args()
    model = dsmixer.load(asked.run)
    config = yaml.safe_load((asked.run / "config.yaml").read_text())
    answered, legend = (objects if model.about.head in FIND_OBJECTS else pixels)(model, config, asked.data)
    answered.sort(key=lambda each: each.score)
    figure = Figure(figsize=(8, 2 + 2.2 * len(PLACES)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, share) in zip(figure.subplots(len(PLACES), 2), PLACES.items(), strict=True):
        chosen = answered[round(share * (len(answered) - 1))]
        chosen.draw(list(axes))
        axes[0].set_title(f"{title}: {100 * chosen.score:.1f} %, {Path(chosen.name).name}", fontsize=8, loc="left")
        for each in axes:
            each.set(xticks=[], yticks=[])
    figure.legend(handles=legend, loc="outside lower center", ncols=6, fontsize=8)
    figure.savefig(asked.picture, dpi=100)
    print(f"{len(answered)} test images; median {answered[len(answered) // 2].score:.3f}")


if __name__ == "__main__":
    main()
