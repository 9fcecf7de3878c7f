"""Everything measured of a finished classifier: what training watches, and the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from dsmixer.tasks.classification import Classification

BINS = 15  # of confidence, as Guo et al. 2017 and most after them count
SHOWN = 40  # mistakes on the sheet


class Evaluation(Classification):
    """Top-5, per-class numbers, calibration and the hardest mistakes, beside ``Classification``'s own."""

    def __init__(self, classes: list[str], picture: Callable[[int], Image.Image]) -> None:
        self.top5 = MulticlassAccuracy(len(classes), top_k=5, average="micro") if len(classes) > 5 else None
        super().__init__(
            classes,
            training=None,
            picture=picture,
            choose_within=0.0,
        )

    def reset(self) -> None:
        """Forget the evaluation."""
        super().reset()
        if self.top5:
            self.top5.reset()

    def observe(self, logits: Tensor, targets: Tensor, rows: Tensor) -> None:
        """As in training, and the five most probable."""
        super().observe(logits, targets, rows)
        if self.top5:
            self.top5.update(logits, targets)

    def summary(self) -> dict[str, Any]:
        """All numbers as plain values; None where a number has no meaning: a class without images, too few classes."""
        metrics, count = self.compute(), sum(block.shape[1] for block in self.seen)
        right = int(self.confusion.compute().trace())
        return {
            "images": count,
            "top1": right / count,
            "top1_interval": wilson(right, count),
            "top5": float(self.top5.compute()) if self.top5 else None,
            "loss": metrics["loss"],
            "calibration_error": self.bins().error,
            "per_class": per_class(self.confusion.compute().numpy(), self.classes),
            "confusion": self.confusion.compute().tolist(),
        }

    def bins(self) -> "Bins":
        """Confidence against being right."""
        _, target, predicted, confidence = torch.cat(self.seen, 1).numpy()
        return calibration(confidence, target == predicted)

    def hardest(self) -> np.ndarray:
        """Places of all images: the surest mistakes first, the surest right answers last."""
        _, target, predicted, confidence = torch.cat(self.seen, 1).numpy()
        return np.argsort(np.where(target == predicted, 1 + confidence, -confidence), kind="stable")

    def draw(self, folder: Path) -> None:
        """confusion.png, calibration.png, and predictions.png with the surest mistakes."""
        from dsmixer.tasks.pictures import draw_calibration, draw_confusion, draw_sheet

        bins, mistakes = self.bins(), int(self.confusion.compute().fill_diagonal_(0).sum())
        draw_confusion(self.confusion.compute().numpy(), self.classes, folder / "confusion.png")
        draw_calibration(bins.count, bins.confident, bins.right, bins.error, folder / "calibration.png")
        draw_sheet(self.cells(self.hardest()[: min(SHOWN, mistakes or SHOWN)]), folder / "predictions.png")


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval that holds the true share with 95 % confidence, after Wilson 1927; never outside 0 to 1."""
    share, extra = right / count, z * z / count
    middle = (share + extra / 2) / (1 + extra)
    half = z * (share * (1 - share) / count + extra / (4 * count)) ** 0.5 / (1 + extra)
    return max(0.0, middle - half), min(1.0, middle + half)


def per_class(matrix: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class from counts (true, predicted); None for 0 of 0."""
    right, support, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)

    def share(part: int, whole: int) -> float | None:
        return int(part) / int(whole) if whole else None

    return [
        {
            "class": name,
            "support": int(support[i]),
            "precision": share(right[i], predicted[i]),
            "recall": share(right[i], support[i]),
            "f1": share(2 * right[i], support[i] + predicted[i]) if support[i] else None,
        }
        for i, name in enumerate(classes)
    ]


@dataclass(frozen=True)
class Bins:
    """Images by confidence: how many, their mean confidence, their share that is right; zeros in an empty bin."""

    count: np.ndarray
    confident: np.ndarray
    right: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini et al. 2015): mean distance of confidence and being right, by images."""
        return float((self.count * np.abs(self.confident - self.right)).sum() / max(self.count.sum(), 1))


def calibration(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Bins:
    """Bins of equal width, (0, 1/15] to (14/15, 1].

    Ours, so that the diagram shows what the number sums: torchmetrics counts a confidence of exactly 1 in a bin of its
    own. Elsewhere they are equal, which a test checks.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    mean = [np.bincount(place, values, bins) / np.maximum(count, 1) for values in (confidence, right.astype(float))]
    return Bins(count, *mean)
