"""Tiny data sets with masks and with boxes, in the layouts of CamVid and COCO, and runs on them that take seconds."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.annotated import coco, write_coco

CLASSES = ["ground", "square", "stripe"]
SIZES = [(64, 48), (48, 64), (64, 48), (56, 40), (40, 56), (64, 48)]
NETWORK = ["--model.name=dsm_test", "--model.kwargs={depths: [1, 1, 1, 1], dims: [8, 8, 16, 16]}"]
SHORT = ["--data.batch_size=2", "--data.workers=0", "--optim.epochs=2", "--optim.warmup_epochs=1", "--run.threads=1"]
RUNS = {  # without batch norm and without draws that differ between processes: two of them can do what one does
    "masks": [
        "--recipe=camvid",
        "--model.head_kwargs={pyramid_dim: 8, dim: 8, norm: groupnorm1, drop_rate: 0.0}",
        "--data.image_size=32",
        "--masks.short_side=null",
        f"--masks.classes={json.dumps(CLASSES)}",
        "--masks.ignore_index=255",
    ],
    "boxes": [
        "--recipe=bccd",
        "--model.head=retinanet",
        "--model.head_kwargs={fpn_channels: 32}",
        "--boxes.short_sides=[40, 48]",
        "--boxes.longest=64",
        "--boxes.test_short_side=48",
    ],
}


def options(kind: str, root: Path) -> list[str]:
    """A run of this kind on ``root``."""
    return [*RUNS[kind], *NETWORK, *SHORT, f"--data.root={root}"]


def write(kind: str, root: Path) -> Path:
    """The data set."""
    return write_masks(root) if kind == "masks" else write_boxes(root)


def write_masks(root: Path) -> Path:
    """Gray ground, a red square, a blue stripe; a margin that is not scored."""
    for split in ("train", "val", "test"):
        for number, (width, height) in enumerate(SIZES):
            mask = np.zeros((height, width), np.uint8)
            mask[8 + number : 28 + number, 6:26] = 1
            mask[:, 32:38] = 2
            image = np.array([[90, 90, 90], [200, 30, 30], [30, 30, 200]], np.uint8)[mask]
            mask[:, :2] = 255
            for folder, pixels in (("images", image), ("annotations", mask)):
                path = root / folder / split / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


def write_boxes(root: Path) -> Path:
    """White cats and dogs on black."""
    for split in ("train", "val", "test"):
        write_coco(root, split, coco(images=6))
    return root
