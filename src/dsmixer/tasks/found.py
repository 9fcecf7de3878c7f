"""What was found in an image, in the forms it takes: arrays, COCO's results, plain JSON."""

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from dsmixer.data.boxes.instance_masks import decode_mask, encode_mask
from dsmixer.tasks.coco_metrics import Kind, compared_by


class Found(NamedTuple):
    """Boxes (N, 4) as left, top, right, bottom in pixels; classes from 0 and scores (N,); masks (N, H, W) bool."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: np.ndarray | None

    def above(self, score: float) -> "Found":
        """Only what is at least this certain."""
        kept = self.scores >= score
        masks = None if self.masks is None else self.masks[kept]
        return Found(self.boxes[kept], self.labels[kept], self.scores[kept], masks)


def from_output(output: dict[str, Tensor], first_label: int) -> Found:
    """One image's output of a torchvision detector, whose masks are probabilities (N, 1, H, W)."""
    masks = (output["masks"][:, 0] >= 0.5).cpu().numpy() if "masks" in output else None
    boxes, labels, scores = (output[key].detach().double().cpu().numpy() for key in ("boxes", "labels", "scores"))
    return Found(boxes, labels.astype(np.int64) - first_label, scores, masks)


def to_results(found: Found, image_id: int) -> list[dict[str, Any]]:
    """COCO's results of one image, the classes numbered from 1."""
    results = []
    for place, (left, top, right, bottom) in enumerate(found.boxes.tolist()):
        result = {
            "image_id": image_id,
            "category_id": int(found.labels[place]) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "score": float(found.scores[place]),
        }
        results.append(result if found.masks is None else {**result, "segmentation": encode_mask(found.masks[place])})
    return results


def from_coco(entries: list[dict[str, Any]], width: int, height: int, *, masks: bool) -> Found:
    """Back from results, or from a truth (score 1); with ``masks`` only entries that have one."""
    entries = [entry for entry in entries if not masks or "segmentation" in entry]
    boxes = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    drawn = [
        decode_mask(entry["segmentation"], width, height, f"image {entry['image_id']}") for entry in entries if masks
    ]
    return Found(
        boxes,
        np.array([entry["category_id"] - 1 for entry in entries], np.int64),
        np.array([entry.get("score", 1.0) for entry in entries], np.float64),
        np.array(drawn, bool).reshape(-1, height, width) if masks else None,
    )


def as_submitted(results: list[dict[str, Any]], kind: Kind, category_ids: list[int]) -> list[dict[str, Any]]:
    """Results with a file's own category ids and only the part that ``kind`` compares, as COCO's tools want them."""
    kept = compared_by(kind, results)
    return [{**result, "category_id": category_ids[result["category_id"] - 1]} for result in kept]


def to_records(found: Found, classes: list[str]) -> list[dict[str, Any]]:
    """For people and their programs: class by name, score, box as left, top, right, bottom in pixels, mask as RLE."""
    records: list[dict[str, Any]] = []
    for place, (label, score) in enumerate(zip(found.labels, found.scores, strict=True)):
        box = [round(value, 2) for value in found.boxes[place].tolist()]
        records.append({"class": classes[label], "score": round(float(score), 4), "box": box})
        if found.masks is not None:
            records[-1]["mask"] = encode_mask(found.masks[place])
    return records
