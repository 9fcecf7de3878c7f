"""One label an image: cross-entropy, accuracy, the confusion matrix."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from dsmixer.data.loader import Batch
from dsmixer.tasks.base import Task
from dsmixer.tasks.training_loss import TrainingLoss

if TYPE_CHECKING:
    from dsmixer.tasks.pictures import Cell


class Classification(Task):
    """Single-label classification.

    ``picture`` gives the image of a row for the sheet of predictions. Without ``training`` there is no ``loss``.
    """

    def __init__(
        self,
        classes: list[str],
        *,
        training: TrainingLoss | None,
        picture: Callable[[int], Image.Image],
        choose_within: float,
    ) -> None:
        self.classes, self.training, self.picture = classes, training, picture
        self.choose_within = choose_within
        # not synchronised by torchmetrics on their own: `merge` says when
        self.accuracy = MulticlassAccuracy(len(classes), average="micro", validate_args=False, sync_on_compute=False)
        self.confusion = MulticlassConfusionMatrix(len(classes), validate_args=False, sync_on_compute=False)
        self.reset()

    def at_epoch(self, epoch: int) -> None:
        """Mixing may end."""
        if self.training:
            self.training.at_epoch(epoch)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """That of ``TrainingLoss``."""
        assert self.training
        return self.training(model, batch)

    def reset(self) -> None:
        """Forget the evaluation."""
        self.accuracy.reset()
        self.confusion.reset()
        self.loss_sum = 0.0
        # a (4, B) block a batch: row, target, prediction, confidence; the first is there if no image can be read
        self.seen = [torch.empty(4, 0, dtype=torch.float64)]

    def merge(self, gather: Callable[[Tensor], list[Tensor]]) -> None:
        """Blocks of all processes, by row, and the counts made from them."""
        seen = torch.cat(gather(torch.cat(self.seen, 1)), 1)
        loss_sum = float(torch.stack(gather(torch.tensor([[self.loss_sum]], dtype=torch.float64))).sum())
        self.reset()
        self.loss_sum, self.seen = loss_sum, [seen[:, seen[0].argsort()]]
        _, targets, predicted, _ = self.seen[0].long()
        self.accuracy.update(predicted, targets)
        self.confusion.update(predicted, targets)

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Predict a batch and keep what was predicted."""
        self.observe(model(batch.images).float().cpu(), batch.targets.cpu(), batch.rows)

    def observe(self, logits: Tensor, targets: Tensor, rows: Tensor) -> None:
        """Keep what was predicted: float32 logits (B, classes), class indices (B,), rows (B,), all on the CPU."""
        confidence, predicted = logits.softmax(1).max(1)
        self.loss_sum += cross_entropy(logits, targets, reduction="sum").double().item()
        self.accuracy.update(predicted, targets)
        self.confusion.update(predicted, targets)
        self.seen.append(torch.stack([rows.double(), targets.double(), predicted.double(), confidence.double()]))

    def compute(self) -> dict[str, float]:
        """Mean cross-entropy (without smoothing) and accuracy."""
        count = sum(block.shape[1] for block in self.seen)
        return {"loss": self.loss_sum / max(count, 1), "accuracy": float(self.accuracy.compute())}

    def score(self, metrics: dict[str, float]) -> float:
        """Accuracy."""
        return metrics["accuracy"]

    def slack(self, metrics: dict[str, float]) -> float:
        """Standard errors of the accuracy (of (right + 1) / (images + 2), so that all right is not certainty).

        After Breiman et al. 1984, who take the simplest model within one; here the latest, trained at a lower rate: on
        some hundred images the highest of many accuracies is mostly luck, and luck comes early as often as late.
        """
        count = sum(block.shape[1] for block in self.seen)
        share = (metrics["accuracy"] * count + 1) / (count + 2)
        return self.choose_within * (share * (1 - share) / (count + 2)) ** 0.5

    def report(self, folder: Path) -> list[str]:
        """confusion.png, predictions.png, and the classes that are hardest."""
        from dsmixer.tasks.pictures import draw_confusion, draw_sheet

        matrix = self.confusion.compute().numpy()
        row, target, predicted, _ = torch.cat(self.seen, 1).numpy()
        draw_confusion(matrix, self.classes, folder / "confusion.png")
        wrong = np.flatnonzero(target != predicted)
        right = np.flatnonzero(target == predicted)
        draw_sheet(self.cells(np.concatenate([wrong[:12], right])[:40]), folder / "predictions.png")
        recall = np.diag(matrix) / np.maximum(matrix.sum(1), 1)
        hardest = [i for i in np.argsort(recall, kind="stable")[:3] if matrix[i].sum()]
        lines = [f"{len(wrong)} of {len(row)} images are wrong. The classes found least often:", ""]
        lines += ["| class | images | found |", "|---|---|---|"]
        lines += [f"| {self.classes[i]} | {matrix[i].sum()} | {100 * recall[i]:.1f} % |" for i in hardest]
        return [*lines, "", "![confusion matrix](confusion.png)", "", "![predictions](predictions.png)"]

    def cells(self, places: np.ndarray) -> list["Cell"]:
        """What was predicted of some images, by their place in the order of ``update``, for a sheet."""
        from dsmixer.tasks.pictures import judged

        seen = torch.cat(self.seen, 1)[:, torch.from_numpy(places)].T.tolist()
        return [
            judged(self.picture(int(row)), self.classes[int(target)], self.classes[int(predicted)], confidence)
            for row, target, predicted, confidence in seen
        ]
