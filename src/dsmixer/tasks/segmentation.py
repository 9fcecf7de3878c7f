"""A class for every pixel: losses, IoU, pictures."""

import math
from bisect import insort
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassConfusionMatrix

from dsmixer.data.masks.batches import MaskBatch
from dsmixer.data.masks.files import IGNORE
from dsmixer.tasks.base import Task
from dsmixer.tasks.pixel_losses import PixelLoss
from dsmixer.tasks.segmentation_metrics import BoundaryIoU, PixelScores, mean
from dsmixer.tasks.views import Views, at_size, look

KEPT = 4  # images of the evaluation's beginning, and of its worst, that a report shows


class Judged(NamedTuple):
    """An image's share of right pixels, its row, and what was true and predicted there, (H, W)."""

    accuracy: float
    row: int
    truth: np.ndarray
    predicted: np.ndarray


class Segmentation(Task):
    """Semantic segmentation.

    The model gives logits (B, classes, h, w); while training it may give a tuple, whose second entry, if any, are those
    of an auxiliary head, which counts ``auxiliary_weight``. ``picture`` gives the image of a row as the mask has it.
    """

    def __init__(
        self,
        classes: list[str],
        *,
        criterion: PixelLoss,
        auxiliary_weight: float,
        views: Views,
        picture: Callable[[int], Image.Image],
    ) -> None:
        self.classes, self.criterion, self.auxiliary_weight = classes, criterion, auxiliary_weight
        self.views, self.picture = views, picture
        self.confusion = MulticlassConfusionMatrix(len(classes), ignore_index=IGNORE, validate_args=False)
        self.boundary = BoundaryIoU(len(classes))
        self.reset()

    def loss(self, model: nn.Module, batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the head, and of the auxiliary one; the share of right pixels in the scored ones."""
        output = model(batch.images)
        logits, auxiliary = output[:2] if isinstance(output, tuple) else (output, None)
        logits = at_size(logits, *batch.masks.shape[1:])
        loss = self.criterion(logits, batch.masks)
        if auxiliary is not None:
            auxiliary = at_size(auxiliary, *batch.masks.shape[1:])
            loss = loss + self.auxiliary_weight * self.criterion(auxiliary, batch.masks)
        scored = batch.masks != IGNORE
        right = (logits.detach().max(1).indices == batch.masks) & scored
        return loss, {"loss": loss.detach(), "aAcc": right.sum() / scored.sum().clamp(min=1)}

    def reset(self) -> None:
        """Forget the evaluation."""
        self.confusion.reset()
        self.boundary.reset()
        self.loss_sum, self.scored = 0.0, 0
        self.first: list[Judged] = []
        self.worst: list[Judged] = []

    def update(self, model: nn.Module, batch: MaskBatch) -> None:
        """Predict images at their own size: how they were padded into a batch changes nothing."""
        for images, masks, rows in unpadded(batch):
            self.observe(look(model, images, self.views), masks, rows)

    def observe(self, logits: Tensor, masks: Tensor, rows: Tensor) -> None:
        """Judge logits (B, classes, H, W) in float32 by masks (B, H, W) of images that are not padded."""
        # not reduction="sum", which CUDA does not do in the same order every time
        losses = cross_entropy(logits, masks, ignore_index=IGNORE, reduction="none")
        self.loss_sum += losses.double().sum().item()
        predicted = logits.max(1).indices  # argmax over a dimension that is not the last takes six times as long
        self.boundary.update(predicted, masks)
        predicted, masks = predicted.cpu(), masks.cpu()
        self.confusion.update(predicted, masks)
        for row, truth, answer in zip(rows.tolist(), masks, predicted, strict=True):
            right, scored = int((truth == answer).sum()), int((truth != IGNORE).sum())
            self.scored += scored
            self._keep(Judged(right / scored if scored else 1.0, row, truth.short().numpy(), answer.short().numpy()))

    def _keep(self, judged: Judged) -> None:
        if len(self.first) < KEPT:
            self.first.append(judged)
        insort(self.worst, judged, key=lambda other: other.accuracy)
        del self.worst[KEPT:]

    def merge(self, gather: Callable[[Tensor], list[Tensor]]) -> None:
        """Counts of all processes; the images that a report shows stay this process's own."""
        parts = [self.confusion.confmat, self.boundary.both, self.boundary.either, torch.tensor([self.scored])]
        counts = torch.cat([part.cpu().flatten() for part in parts])
        total = torch.stack(gather(counts[None])).sum((0, 1)).split([part.numel() for part in parts])
        for part, merged in zip(parts[:3], total, strict=False):
            part.copy_(merged.view_as(part))
        self.scored = int(total[3])
        self.loss_sum = float(torch.stack(gather(torch.tensor([[self.loss_sum]], dtype=torch.float64))).sum())

    def scores(self) -> PixelScores:
        """Of each class, since ``reset``."""
        return PixelScores.of(self.confusion.compute().numpy())

    def compute(self) -> dict[str, float]:
        """Mean cross-entropy (without weights) and the means of IoU, recall and boundary IoU over the classes seen."""
        scores = self.scores()
        return {
            "loss": self.loss_sum / max(self.scored, 1),
            "mIoU": mean(scores.iou),
            "aAcc": scores.accuracy,
            "mAcc": mean(scores.recall),
            "boundary_IoU": mean(self.boundary.compute().numpy()),
        }

    def score(self, metrics: dict[str, float]) -> float:
        """mIoU; -1 where there was nothing to judge."""
        return -1.0 if math.isnan(metrics["mIoU"]) else metrics["mIoU"]

    def slack(self, metrics: dict[str, float]) -> float:
        """None: pixels of an image are no independent witnesses, so their number gives no standard error."""
        return 0.0

    def report(self, folder: Path) -> list[str]:
        """confusion.png, masks.png, and a table of the classes."""
        from dsmixer.tasks.mask_pictures import draw_judged
        from dsmixer.tasks.pictures import draw_confusion

        draw_confusion(self.confusion.compute().numpy(), self.classes, folder / "confusion.png", counts=False)
        seen = {judged.row: judged for judged in (*self.first, *self.worst)}
        draw_judged([(self.picture(row), judged) for row, judged in seen.items()], self.classes, folder / "masks.png")
        return [
            *self.table(),
            "",
            "![confusion matrix](confusion.png)",
            "",
            f"The first {len(self.first)} images, and those with the least share of right pixels:",
            "",
            "![masks](masks.png)",
        ]

    def table(self) -> list[str]:
        """A Markdown table of the classes, n/a where there is nothing to judge."""
        scores, boundary = self.scores(), self.boundary.compute().tolist()
        pixels = self.confusion.compute().sum(1)
        share = (pixels / pixels.sum().clamp(min=1)).tolist()
        lines = ["| class | share of pixels | IoU | recall | boundary IoU |", "|---|---|---|---|---|"]
        for name, *values in zip(self.classes, share, scores.iou, scores.recall, boundary, strict=True):
            lines.append(f"| {name} | " + " | ".join(map(_percent, values)) + " |")
        return lines


def unpadded(batch: MaskBatch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Images, masks and rows of a batch at once where nothing is padded, otherwise one image after the other."""
    full = list(batch.masks.shape[1:])
    if all(size == full for size in batch.sizes.tolist()):
        yield batch.images, batch.masks, batch.rows
        return
    for i, (height, width) in enumerate(batch.sizes.tolist()):
        one = slice(i, i + 1)
        yield batch.images[one, :, :height, :width], batch.masks[one, :height, :width], batch.rows[one]


def _percent(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.1f} %"
