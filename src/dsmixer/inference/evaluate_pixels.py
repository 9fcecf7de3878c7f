"""A segmenter judged on one split of a data set, looked at in several ways."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dsmixer.config import DataConfig
from dsmixer.data.bad import BadFiles
from dsmixer.data.masks.batches import MaskedImages
from dsmixer.data.masks.files import IGNORE
from dsmixer.data.masks.folders import MaskSplit
from dsmixer.data.masks.transforms import whole_pair
from dsmixer.inference.dense import Stopwatch, conditions, measured, number, one_by_one, places, require_known
from dsmixer.tasks.pixel_losses import PixelLoss
from dsmixer.tasks.segmentation import Segmentation
from dsmixer.tasks.views import Views

if TYPE_CHECKING:
    from dsmixer.inference.segmenter import SemanticSegmenter

PLAIN = PixelLoss(class_weights=None, hard_below=0.0, hard_share=0.0, dice=0.0)


def looks(model: "SemanticSegmenter", sizes: Sequence[float], views: dict[str, Any]) -> dict[str, Views]:
    """Ways to look, by name: "whole" first, whole at ``sizes``, factors of the trained scale, and as ``views`` asks.

    Of windows with several scales or mirror images there are two: windows alone come before.
    """
    found = {"whole": model.views()}
    for size in sizes:
        if size != 1:
            found[f"whole, {size:g} times as large"] = model.views(scales=(size,))
    asked = model.views(**views)
    for view in (model.views(window=asked.window, stride=asked.stride), asked):
        if view != found["whole"]:
            window = f"windows of {view.window} every {view.stride}" if view.window else "whole"
            scales = "" if view.scales == (1.0,) else f", scales {' '.join(f'{scale:g}' for scale in view.scales)}"
            found[f"{window}{scales}{', mirrored too' if view.flip else ''}"] = view
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
    judge = partial(_judge, model, split, workers, worker_timeout, bad, advance)
    (name, whole), *others = ways.items()
    first, watch = judge(whole)
    rows = [{"look": name, **_row(first, watch)}]
    for name, views in others:
        rows.append({"look": name, **measured(lambda views=views: _row(*judge(views)))})
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


def _judge(
    model: "SemanticSegmenter",
    split: MaskSplit,
    workers: int,
    worker_timeout: float,
    bad: BadFiles | None,
    advance: Callable[[int], object],
    views: Views,
) -> tuple[Segmentation, Stopwatch]:
    """One pass over all images, looked at as ``views`` say."""
    source = split.source
    samples = MaskedImages(split, model.about.mode, whole_pair(model.about.mean, model.about.std), 0)
    mapping = torch.tensor([*places(source.classes, model.classes), IGNORE])  # the last for -1
    task = Segmentation(
        model.classes,
        criterion=PLAIN,
        auxiliary_weight=0.0,
        views=views,
        picture=lambda row: source.image(row, model.about.mode),
    )
    watch = Stopwatch()
    for batch in one_by_one(samples, workers, worker_timeout, bad, advance):
        masks = _mapped(batch.masks, mapping, source.classes, model.classes)
        logits = watch.time(lambda images=batch.images: model.logits(images, views).float().cpu())
        if not logits.isfinite().all():
            raise ValueError(f"{model.path}: the network answers with numbers that are not finite")
        task.observe(logits, masks, batch.rows)
    return task, watch


def _row(task: Segmentation, watch: Stopwatch) -> dict[str, Any]:
    return {**{key: number(value) for key, value in task.compute().items()}, **watch.speed()}


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
