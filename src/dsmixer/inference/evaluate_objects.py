"""A detector judged on one split of a data set, at several sizes of the input."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dsmixer.config import DataConfig
from dsmixer.data.bad import BadFiles, DataError
from dsmixer.data.boxes.batches import BoxesToScore
from dsmixer.data.boxes.source import BoxedImages
from dsmixer.data.splits import Split
from dsmixer.heads.detectors import KINDS
from dsmixer.inference.dense import Stopwatch, conditions, one_by_one, places, require_known
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
    rows, judged, watch = [], list[Detection](), Stopwatch()
    for size in [1.0, *(size for size in sizes if size != 1)]:
        task, watch = _task(model, split), Stopwatch()
        with model.scaled(size):
            for batch in one_by_one(BoxesToScore(split), workers, worker_timeout, bad):
                if len(batch.rows):
                    truths = [_mapped(truth, split.source.classes, model.classes) for truth in batch.truths]
                    task.observe(watch.time(lambda images=batch.images: model.detect(images)), truths, batch.rows)
                    advance(1)
        if not watch.images:
            raise DataError("none of the images can be read")
        rows.append({"size": size, **task.compute(), **watch.speed()})
        judged.append(task)
    first = judged[0]
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
