"""A segmenter judged on one split of a data set, looked at in several ways."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dsmixer.config import DataConfig
from dsmixer.data.bad import BadFiles, DataError
from dsmixer.data.masks.batches import MaskedImages
from dsmixer.data.masks.files import IGNORE
from dsmixer.data.masks.folders import MaskSplit
from dsmixer.data.masks.transforms import whole_pair
from dsmixer.inference.dense import Stopwatch, conditions, number, one_by_one, places, require_known
from dsmixer.tasks.pixel_losses import PixelLoss
from dsmixer.tasks.segmentation import Segmentation
from dsmixer.tasks.views import Views

if TYPE_CHECKING:
    from dsmixer.inference.segmenter import SemanticSegmenter

PLAIN = PixelLoss(class_weights=None, hard_below=0.0, hard_share=0.0, dice=0.0)


def looks(model: "SemanticSegmenter", sizes: Sequence[float], views: dict[str, Any]) -> dict[str, Views]:
    """Ways to look, by name: "whole" first, whole at ``sizes``, factors of the trained scale, and as ``views`` asks."""
    found = {"whole": model.views()}
    for size in sizes:
        if size != 1:
            found[f"whole, {size:g} times as large"] = model.views(scales=(size,))
    asked = model.views(**views)
    if asked != found["whole"]:
        window = f"windows of {asked.window} every {asked.stride}" if asked.window else "whole"
        scales = "" if asked.scales == (1.0,) else f", scales {' '.join(f'{scale:g}' for scale in asked.scales)}"
        found[f"{window}{scales}{', mirrored too' if asked.flip else ''}"] = asked
    return found


def evaluate_pixels(
    model: "SemanticSegmenter",
    split: MaskSplit,
    ways: dict[str, Views],
    *,
    workers: int = DataConfig.workers,
    worker_timeout: float = DataConfig.worker_timeout,
    bad: BadFiles | None = None,
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[dict[str, Any], Segmentation]:
    """All numbers as plain values, and the judgement they come from, for its pictures: those of the first way.

    Masks are judged at their own size. ``bad`` takes images that cannot be read, which then do not count; without it
    one is a ``DataError``. ``advance`` is told of every image.
    """
    if not len(split.rows):
        raise ValueError("the split has no images")
    samples = MaskedImages(split, model.about.mode, whole_pair(model.about.mean, model.about.std), 0)
    mapping = torch.tensor([*places(split.source.classes, model.classes), IGNORE])  # the last for -1
    rows, judged, watch = [], list[Segmentation](), Stopwatch()
    for name, views in ways.items():
        task = Segmentation(
            model.classes,
            criterion=PLAIN,
            auxiliary_weight=0.0,
            views=views,
            picture=lambda row: split.source.image(row, model.about.mode),
        )
        watch = Stopwatch()
        for batch in one_by_one(samples, workers, worker_timeout, bad):
            if len(batch.rows):
                masks = _mapped(batch.masks, mapping, split.source.classes, model.classes)
                logits = watch.time(lambda images=batch.images, views=views: model.logits(images, views).float().cpu())
                task.observe(logits, masks, batch.rows)
                advance(1)
        if not watch.images:
            raise DataError("none of the images can be read")
        scores = {key: number(value) for key, value in task.compute().items()}
        rows.append({"look": name, **scores, **watch.speed()})
        judged.append(task)
    first = judged[0]
    return {
        "weights": str(model.path),
        "architecture": model.about.architecture,
        "head": model.about.head,
        "images": watch.images,
        "unreadable": len(bad or ()),
        "looks": rows,
        "per_class": _per_class(first),
        "confusion": first.confusion.compute().tolist(),
        "conditions": conditions(model, workers),
    }, first


def _mapped(masks: Tensor, mapping: Tensor, theirs: list[str], classes: list[str]) -> Tensor:
    """Masks in the numbers of the weights' classes."""
    for label in masks.unique().tolist():
        if label != IGNORE:
            require_known(label, theirs, classes)
    return mapping[masks]


def _per_class(task: Segmentation) -> list[dict[str, Any]]:
    scores, boundary = task.scores(), task.boundary.compute().tolist()
    pixels = task.confusion.compute().sum(1).tolist()
    return [
        {
            "class": name,
            "pixels": pixels[label],
            "iou": number(scores.iou[label]),
            "recall": number(scores.recall[label]),
            "boundary_iou": number(boundary[label]),
        }
        for label, name in enumerate(task.classes)
    ]
