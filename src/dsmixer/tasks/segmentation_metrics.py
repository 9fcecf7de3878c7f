"""What is right about a mask: from the confusion matrix of pixels, and along the boundaries."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torchmetrics import Metric

from dsmixer.data.masks.files import IGNORE

OUTSIDE = -2  # beyond the image is no class, and not IGNORE either


class PixelScores(NamedTuple):
    """Of each class (C,), NaN where there is nothing to judge; the means leave those out."""

    iou: np.ndarray  # of truth and prediction: NaN for a class that neither has
    recall: np.ndarray  # NaN for a class that the truth lacks
    accuracy: float  # share of the scored pixels that is right

    @classmethod
    def of(cls, matrix: np.ndarray) -> "PixelScores":
        """From a confusion matrix (true, predicted) of pixels."""
        right, true, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        return cls(_share(right, true + predicted - right), _share(right, true), float(_share(right.sum(), true.sum())))


def mean(values: np.ndarray) -> float:
    """Of those that are numbers; NaN where none is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


class BoundaryIoU(Metric):
    """IoU of what lies near a boundary, for each class.

    Of a class, only the pixels within d of its mask's own edge count, on either side of the comparison, d being
    ``ratio`` of the image's diagonal (Cheng et al. 2021, arXiv 2103.16562, who judge instances). Here all classes of an
    image are compared at once and summed over the images, as pixels are for mIoU. As there, the edge of the image is
    an edge, and distance is counted along the longer axis. Pixels that are not scored are compared nowhere; next to
    them the edge of truth and prediction is the same.
    """

    full_state_update = False
    both: Tensor
    either: Tensor

    def __init__(self, num_classes: int, ratio: float = 0.02) -> None:
        super().__init__()
        self.num_classes, self.ratio = num_classes, ratio
        for name in ("both", "either"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, masks: Tensor) -> None:
        """Class indices (B, H, W) of images that are not padded, and their masks."""
        predicted = torch.where(masks == IGNORE, IGNORE, predicted)
        height, width = masks.shape[1:]
        distance = max(1, round(self.ratio * (height**2 + width**2) ** 0.5))
        near_true, near_predicted = near_boundary(masks, distance), near_boundary(predicted, distance)
        scored = masks != IGNORE
        true, other = (
            torch.bincount(labels[near & scored], minlength=self.num_classes)
            for labels, near in ((masks, near_true), (predicted, near_predicted))
        )
        agreed = near_true & near_predicted & scored & (masks == predicted)
        both = torch.bincount(masks[agreed], minlength=self.num_classes)
        self.both += both.to(self.both.device)
        self.either += (true + other - both).to(self.either.device)

    def compute(self) -> Tensor:
        """IoU (C,), NaN for a class with no boundary in truth or prediction."""
        return torch.where(self.either > 0, self.both / self.either.clamp(min=1), torch.nan)


def near_boundary(labels: Tensor, distance: int) -> Tensor:
    """Where (B, H, W) another label, or the outside, lies within ``distance`` rows and columns."""
    x = pad(labels.short(), [distance] * 4, value=OUTSIDE)
    return _highest(x, 2 * distance + 1) != -_highest(-x, 2 * distance + 1)


def _highest(x: Tensor, window: int) -> Tensor:
    """Maxima (B, H - window + 1, W - window + 1) of square windows, grown by doubling: fewer looks than by pooling."""
    for axis in (1, 2):
        reach = 1
        while reach < window:
            step = min(reach, window - reach)
            count = x.shape[axis] - step
            x = torch.maximum(x.narrow(axis, 0, count), x.narrow(axis, step, count))
            reach += step
    return x
