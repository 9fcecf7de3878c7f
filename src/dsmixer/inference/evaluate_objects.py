"""A detector judged on one split of a data set, at several sizes of the input."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dsmixer.config import DataConfig
from dsmixer.data.bad import BadFiles
from dsmixer.data.boxes.batches import BoxesToScore
from dsmixer.data.boxes.source import BoxedImages
from dsmixer.data.splits import Split
from dsmixer.heads.detectors import KINDS
from dsmixer.inference.dense import Stopwatch, conditions, measured, one_by_one, places, require_known
from dsmixer.tasks.coco_metrics import SUMMARY
from dsmixer.tasks.detection import Detection

if TYPE_CHECKING:
    from dsmixer.inference.detector import ObjectDetector


def evaluate_objects(
    model: "ObjectDetector",
    split: Split[BoxedImages],
    *,
    sizes: Sequence[float] = (),
    workers: int = DataConfig.workers,
    worker_timeout: float = DataConfig.worker_timeout,
    bad: BadFiles | None = None,
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[dict[str, Any], Detection]:
    """All numbers as plain values, and the judgement they come from, for its pictures: those at the trained size.

    ``sizes`` are factors of the sides that the detector resizes an image to. ``bad`` takes images that cannot be read,
    which then do not count; without it one is a ``DataError``. ``advance`` is told of every image.
    """
    if not len(split.rows):
        raise ValueError("the split has no images")
    judge = partial(_judge, model, split, workers, worker_timeout, bad, advance)
    first, watch = judge(1.0)
    rows = [{"size": 1.0, **_row(first, watch)}]
    for size in sorted({*sizes} - {1}):
        rows.append({"size": size, **measured(lambda size=size: _row(*judge(size)))})
    return {
        "weights": str(model.path),
        "architecture": model.about.architecture,
        "head": model.about.head,
        "images": watch.images,
        "unreadable": len(bad or ()),
        "sizes": rows,
        "per_class": _per_class(first),
        "conditions": conditions(model, workers),
    }, first


def _judge(
    model: "ObjectDetector",
    split: Split[BoxedImages],
    workers: int,
    worker_timeout: float,
    bad: BadFiles | None,
    advance: Callable[[int], object],
    size: float,
) -> tuple[Detection, Stopwatch]:
    """One pass over all images, resized to ``size`` times the trained sides."""
    task, watch, source = _task(model, split), Stopwatch(), split.source
    with model.scaled(size):
        for batch in one_by_one(BoxesToScore(split), workers, worker_timeout, bad, advance):
            truths = [_mapped(truth, source.classes, model.classes) for truth in batch.truths]
            task.observe(watch.time(lambda images=batch.images: model.detect(images)), truths, batch.rows)
    return task, watch


def _row(task: Detection, watch: Stopwatch) -> dict[str, Any]:
    """None for what there is no object for."""
    scores = task.compute()
    names = [*SUMMARY, *(f"mask_{name}" for name in SUMMARY if task.masks)]
    return {**{name: scores.get(name) for name in names}, **watch.speed()}


def _task(model: "ObjectDetector", split: Split[BoxedImages]) -> Detection:
    kind, source = KINDS[str(model.about.head)], split.source
    ids = dict(zip(source.classes, source.category_ids, strict=True))
    unused = max(source.category_ids, default=0) + 1  # for classes that the file does not have
    return Detection(
        model.classes,
        first_label=kind.background,
        masks=kind.masks,
        picture=lambda row: source.image(row, "RGB"),
        category_ids=[ids.get(name, unused + place) for place, name in enumerate(model.classes)],
    )


def _mapped(truth: dict[str, Any], theirs: list[str], classes: list[str]) -> dict[str, Any]:
    """What is in an image, in the numbers of the weights' classes, from 1."""
    number = places(theirs, classes)
    entries = []
    for entry in truth["annotations"]:
        require_known(entry["category_id"] - 1, theirs, classes)
        entries.append({**entry, "category_id": number[entry["category_id"] - 1] + 1})
    return {**truth, "annotations": entries}


def _per_class(task: Detection) -> list[dict[str, Any]]:
    scores = task.scores()
    return [
        {
            "class": name,
            "objects": task.count(label),
            "AP": scores["bbox"].by_class[label],
            **({"mask_AP": scores["segm"].by_class[label]} if "segm" in scores else {}),
        }
        for label, name in enumerate(task.classes)
    ]
