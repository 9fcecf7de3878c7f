"""Average precision as COCO defines it, by faster-coco-eval; a test compares it with pycocotools."""

from typing import Any, Literal, NamedTuple

import numpy as np

SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl")
Kind = Literal["bbox", "segm"]


class Scores(NamedTuple):
    """From 0 to 1; what there is no object for is absent from ``summary`` and None in ``by_class``.

    AP is the mean over ten overlaps from 0.50 to 0.95, all sizes, at most 100 detections an image; AP50 and AP75 are at
    one overlap; APs, APm, APl are of objects below 32² pixels, between, and above 96².
    """

    summary: dict[str, float]
    by_class: list[float | None]


def coco_scores(truth: dict[str, Any], results: list[dict[str, Any]], kind: Kind) -> Scores:
    """Score ``results`` against ``truth``, both as COCO writes them; "bbox" compares boxes, "segm" masks."""
    from faster_coco_eval import COCO, COCOeval_faster

    objects = [dict(entry) for entry in truth["annotations"] if kind == "bbox" or "segmentation" in entry]
    known = COCO({**truth, "annotations": objects})  # copies, for the library adds keys
    found = known.loadRes(compared_by(kind, results))
    judge = COCOeval_faster(known, found, kind, print_function=lambda *_: None, rle_iou_max_workers=1)
    judge.run()
    # -1 is how it writes that there was nothing to find
    summary = {name: float(value) for name, value in zip(SUMMARY, judge.stats, strict=False) if value > -1}
    precision = np.asarray(judge.eval["precision"])[:, :, :, 0, -1]  # (overlap, recall, class): all sizes, 100 an image
    parts = [precision[:, :, label] for label in range(precision.shape[2])]
    return Scores(summary, [float(part[part > -1].mean()) if (part > -1).any() else None for part in parts])


def compared_by(kind: Kind, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results with boxes only or masks only: beside a box, a mask's size would be taken to be the box's."""
    left_out = "segmentation" if kind == "bbox" else "bbox"
    return [{key: value for key, value in result.items() if key != left_out} for result in results]
