"""Boxes and masks: the sum of the detector's own losses, and COCO's average precision."""

import json
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from dsmixer.data.boxes.batches import BoxBatch, TruthBatch
from dsmixer.data.names import named
from dsmixer.tasks.base import Task
from dsmixer.tasks.coco_metrics import Kind, Scores, coco_scores
from dsmixer.tasks.found import Found, as_submitted, from_coco, from_output, to_results

SHOWN = 0.5  # score from which a detection is drawn: COCO's metric wants the doubtful ones too, a reader does not


class Detection(Task):
    """Object detection, and with ``masks`` instance segmentation.

    ``first_label`` is what the detector calls class 0 (1 where it has a background class). ``picture`` and
    ``category_ids`` belong to the held-out split: the image of a row, and the numbers its file gives the classes.
    """

    def __init__(
        self,
        classes: list[str],
        *,
        first_label: int,
        masks: bool,
        picture: Callable[[int], Image.Image],
        category_ids: list[int],
    ) -> None:
        self.classes, self.first_label, self.masks = classes, first_label, masks
        self.picture, self.category_ids = picture, category_ids
        self.reset()

    def loss(self, model: nn.Module, batch: BoxBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the detector's losses, which it names itself."""
        targets = [{**target, "labels": target["labels"] + self.first_label} for target in batch.targets]
        parts: dict[str, Tensor] = model(batch.images, targets)
        total = torch.stack(list(parts.values())).sum()
        return total, {"loss": total.detach(), **{name: part.detach() for name, part in parts.items()}}

    def reset(self) -> None:
        """Forget the evaluation."""
        self.truths: list[dict[str, Any]] = []  # one an image
        self.results: list[dict[str, Any]] = []  # one a detection, classes numbered from 1
        self.rows: list[int] = []

    def update(self, model: nn.Module, batch: TruthBatch) -> None:
        """Detect in a batch and keep what was found."""
        found = [from_output(output, self.first_label) for output in model(batch.images)]
        self.observe(found, batch.truths, batch.rows)

    def observe(self, found: list[Found], truths: list[dict[str, Any]], rows: Tensor) -> None:
        """Keep what was found in some images, and what is in them."""
        for each, truth in zip(found, truths, strict=True):
            self.results += to_results(each, truth["image"]["id"])
        self.truths += truths
        self.rows += rows.tolist()

    def merge(self, gather: Callable[[Tensor], list[Tensor]]) -> None:
        """What all processes saw, by row."""
        seen = json.dumps([self.rows, self.truths, self.results]).encode()
        blocks = gather(torch.frombuffer(bytearray(seen), dtype=torch.uint8)[None])
        parts = [json.loads(block.numpy().tobytes()) for block in blocks]
        images = sorted(
            (pair for rows, truths, _ in parts for pair in zip(rows, truths, strict=True)), key=itemgetter(0)
        )
        self.rows, self.truths = [row for row, _ in images], [truth for _, truth in images]
        self.results = [result for _, _, results in parts for result in results]

    def scores(self) -> dict[Kind, Scores]:
        """COCO's scores of the boxes, "bbox", and of the masks, "segm"."""
        entries = [entry for truth in self.truths for entry in truth["annotations"]]
        truth = {
            "images": [truth["image"] for truth in self.truths],
            # from 1: the library takes 0 for "not matched"
            "annotations": [{**entry, "id": number} for number, entry in enumerate(entries, 1)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.classes, 1)],
        }
        kinds: list[Kind] = ["bbox", "segm"] if self.masks else ["bbox"]
        return {kind: coco_scores(truth, self.results, kind) for kind in kinds}

    def compute(self) -> dict[str, float]:
        """COCO's summary of the boxes, and of the masks as ``mask_AP`` …; what cannot be scored is absent."""
        scores = self.scores()
        masks = scores["segm"].summary if "segm" in scores else {}
        return {**scores["bbox"].summary, **{f"mask_{name}": value for name, value in masks.items()}}

    def score(self, metrics: dict[str, float]) -> float:
        """AP of the boxes; not a number where there was nothing to find, which is never the best."""
        return metrics.get("AP", float("nan"))

    def slack(self, metrics: dict[str, float]) -> float:
        """None."""
        return 0.0

    def report(self, folder: Path) -> list[str]:
        """predictions.png, COCO results as JSON, and a table of the classes."""
        from dsmixer.tasks.drawing import draw_sheet

        scores = self.scores()
        for kind in scores:
            results = as_submitted(self.results, kind, self.category_ids)
            with named(folder / f"results_{kind}.json") as path:
                path.write_text(json.dumps(results) + "\n")
        cells = [self._cell(place) for place in range(min(8, len(self.rows)))]
        draw_sheet(cells, self.classes, folder / "predictions.png")
        lines = ["| class | objects | " + " | ".join(f"AP of {kind}" for kind in scores) + " |"]
        lines.append("|---|---|" + "---|" * len(scores))
        for label, name in enumerate(self.classes):
            values = [score.by_class[label] for score in scores.values()]
            shown = " | ".join("n/a" if value is None else f"{100 * value:.1f}" for value in values)
            lines.append(f"| {name} | {self.count(label)} | {shown} |")
        return [*lines, "", "Left of each pair the truth, right what was found.", "", "![predictions](predictions.png)"]

    def count(self, label: int) -> int:
        """Objects of a class, without crowds."""
        entries = [entry for truth in self.truths for entry in truth["annotations"] if not entry["iscrowd"]]
        return sum(entry["category_id"] == label + 1 for entry in entries)

    def _cell(self, place: int) -> tuple[Image.Image, Found, Found]:
        truth, row = self.truths[place], self.rows[place]
        identity, width, height = truth["image"]["id"], truth["image"]["width"], truth["image"]["height"]
        known = [entry for entry in truth["annotations"] if not entry["iscrowd"]]
        found = [result for result in self.results if result["image_id"] == identity]
        return (
            self.picture(row),
            from_coco(known, width, height, masks=self.masks),
            from_coco(found, width, height, masks=self.masks).above(SHOWN),
        )
