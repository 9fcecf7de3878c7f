"""A classifier judged on one split of a data set."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dsmixer.config import DataConfig
from dsmixer.data.bad import BadFiles, DataError
from dsmixer.data.loader import Feed, Images, in_order
from dsmixer.data.names import first_line
from dsmixer.data.splits import Split, open_splits
from dsmixer.data.transforms import eval_transform
from dsmixer.engine.hardware import describe
from dsmixer.inference.dense import places, require_known
from dsmixer.tasks.evaluation import Evaluation, wilson

if TYPE_CHECKING:
    from dsmixer.inference.classifier import Classifier


def open_split(
    name: str, root: str | None, split: str, val_fraction: float, allow_outside: bool = DataConfig.allow_outside
) -> tuple[Split, int, tuple[str, ...]]:
    """One split of the data set that ``name`` and ``root`` say (see ``DataConfig``); images of all; what was found."""
    if split not in ("train", "val", "test", "all"):
        raise ValueError(f"split is {split!r}, expected train, val, test or all")
    splits = open_splits(name, root, val_fraction, allow_outside, to_train=False)
    if split != "all":
        if not len(splits.part(split).rows):
            raise ValueError(f"{root} has no {split} images; choose another split")
        return splits.part(split), splits.images, splits.notes
    if splits.train.source is not splits.test.source or splits.train.source is not splits.val.source:
        raise ValueError(f"split is all, but {root} is split already; choose train, val or test")
    count = len(splits.train.source.labels)
    return Split(splits.train.source, np.arange(count)), count, ()


def outputs(split: Split, classes: list[str]) -> Tensor:
    """Of each class of the data its place in ``classes``, matched by name; ``ABSENT`` only where it has no images.

    ``ValueError`` naming a class that has images and is not in ``classes``.
    """
    theirs = split.source.classes
    for label in np.unique(split.source.labels[split.rows]):
        require_known(label, theirs, classes)
    return torch.tensor(places(theirs, classes))


def evaluate(
    model: "Classifier",
    split: Split,
    *,
    batch_size: int,
    sizes: Sequence[float] = (),
    workers: int = DataConfig.workers,
    worker_timeout: float = DataConfig.worker_timeout,
    bad: BadFiles | None = None,
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[dict[str, Any], Evaluation]:
    """All numbers as plain values, and the evaluation they come from, for its pictures.

    ``sizes`` are further sides of the input: pixels, or, up to 8, factors of the training size. ``bad`` takes
    images that cannot be read, which then do not count; without it one is a ``DataError``. ``advance`` is told of every
    batch how many images it had.
    """
    if not len(split.rows):
        raise ValueError("the split has no images")

    targets = outputs(split, model.classes)

    def judge(side: int) -> tuple[Evaluation, dict[str, float]]:
        about = model.about
        transform = eval_transform(side, about.mean, about.std, about.crop_pct, about.interpolation)
        evaluation = Evaluation(model.classes, lambda row: split.source.image(row, model.about.mode))
        plan = in_order(len(split.rows), batch_size)
        feed = Feed(Images(split, model.about.mode, transform, 0), plan, workers, worker_timeout, bad)
        return evaluation, _watch(model, feed, targets, evaluation, advance)

    evaluation, speed = judge(model.about.image_size)
    summary = evaluation.summary()
    rows = []
    for side in pixels(sizes, model.about.image_size):
        if side == model.about.image_size:
            rows.append(_size_row(side, summary, speed))
        elif reason := _refusal(model, side, batch_size):
            rows.append({"pixels": side, "error": reason})
        else:
            other, other_speed = judge(side)
            rows.append(_size_row(side, other.summary(), other_speed))
    facts = {
        "weights": str(model.path),
        "architecture": model.about.architecture,
        "image_size": model.about.image_size,
    }
    conditions = {**describe(model.device, model.precision), "batch_size": batch_size, "workers": workers}
    return {
        **facts,
        "unreadable": len(bad or ()),
        **summary,
        "sizes": rows,
        "speed": speed,
        "conditions": conditions,
    }, evaluation


def draw(result: dict[str, Any], evaluation: Evaluation, folder: Path) -> None:
    """The pictures of an evaluation."""
    from dsmixer.tasks.pictures import draw_sizes

    evaluation.draw(folder)
    measured = [row for row in result["sizes"] if "error" not in row]
    if len(measured) > 1:
        sides, shares = [row["pixels"] for row in measured], [row["top1"] for row in measured]
        draw_sizes(sides, shares, result["image_size"], folder / "sizes.png")


def pixels(sizes: Sequence[float], trained: int) -> list[int]:
    """Sides in pixels, ascending, of factors (up to 8) and pixels; ``ValueError`` for what is no size."""
    for size in sizes:
        if not 0 < size <= 16384:
            raise ValueError(f"--sizes {size:g} is no size; give factors such as 0.75 and 1.5, or pixels such as 96")
    return sorted({max(1, round(size * trained)) if size <= 8 else round(size) for size in sizes})


def _watch(
    model: "Classifier", feed: Feed, targets: Tensor, evaluation: Evaluation, advance: Callable[[int], object]
) -> dict[str, float]:
    """One pass; returns images a second, all in all and of the network alone (without its first, slower batch)."""
    begin, network, count = time.perf_counter(), [], []
    for batch in feed:
        if not len(batch.rows):  # none of them can be read
            continue
        start = time.perf_counter()
        logits = model.logits(batch.images)
        network.append(time.perf_counter() - start)
        count.append(len(logits))
        if not logits.isfinite().all():
            raise ValueError(f"{model.path}: the network answers with numbers that are not finite")
        evaluation.observe(logits, targets[batch.targets], batch.rows)
        advance(count[-1])
    if not count:
        raise DataError("none of the images can be read")
    first = 1 if len(count) > 1 else 0
    return {
        "images_per_second": round(sum(count) / (time.perf_counter() - begin), 1),
        "network_images_per_second": round(sum(count[first:]) / sum(network[first:]), 1),
    }


def _size_row(side: int, summary: dict[str, Any], speed: dict[str, float]) -> dict[str, Any]:
    right = round(summary["top1"] * summary["images"])
    return {
        "pixels": side,
        "top1": summary["top1"],
        "top1_interval": wilson(right, summary["images"]),
        "images_per_second": speed["images_per_second"],
    }


def _refusal(model: "Classifier", side: int, batch_size: int) -> str | None:
    """Why the network does not take images of this side, in its own words."""
    try:
        model.logits(torch.zeros(batch_size, model.about.in_chans, side, side))
    except (RuntimeError, AssertionError, ValueError) as error:
        return first_line(error)
    return None
