"""What a classifier is trained on: labels mixed or not, the loss of each image, the weight of its class."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dsmixer.data.loader import Batch


class TrainingLoss:
    """The loss of a training batch.

    Mixing, where ``mixup`` or ``cutmix`` is above 0, is timm's; it draws from the global generators, which the engine
    seeds by the step. ``class_weights`` (classes,) weigh an image by its class, a mixed one by its share of each. See
    ``DataConfig`` and ``OptimConfig`` for the other values.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        loss: str,
        label_smoothing: float,
        bce_threshold: float | None,
        class_weights: Tensor | None,
        mixup: float,
        cutmix: float,
        mix_prob: float,
        mix_switch: float,
        mix_mode: str,
        mix_epochs: int | None,
    ) -> None:
        self.criterion, self.class_weights = _criterion(loss, label_smoothing, bce_threshold), class_weights
        self.mix, self.mix_epochs = None, mix_epochs
        if mixup or cutmix:
            from timm.data.mixup import Mixup

            self.mix = Mixup(
                mixup,
                cutmix,
                prob=mix_prob,
                switch_prob=mix_switch,
                mode=mix_mode,
                label_smoothing=label_smoothing,
                num_classes=num_classes,
            )
        self.at_epoch(0)

    def at_epoch(self, epoch: int) -> None:
        """Mixing ends with ``mix_epochs``."""
        self.mixes = self.mix is not None and (self.mix_epochs is None or epoch < self.mix_epochs)

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over images, and for the console its value and the accuracy, which counts a mix's heavier label."""
        images, targets, labels = batch.images, batch.targets, batch.targets
        if self.mix is not None and self.mixes:
            images, targets = self.mix(images.clone(), targets)  # it works in place, and the batch may be kept
            labels = targets.argmax(1)
        logits = model(images)
        losses = self.criterion(logits, targets)
        if self.class_weights is not None:
            weights = self.class_weights = self.class_weights.to(losses.device)  # once: the copy waits for a GPU
            losses = losses * (weights[targets] if targets.ndim == 1 else targets @ weights)
        loss = losses.mean()
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return loss, {"loss": loss.detach(), "accuracy": accuracy}


def balanced(counts: np.ndarray) -> Tensor:
    """A weight for each class from its number of images: every class weighs the same, and the mean over images is 1.

    A class without images gets 1: no image has it as its label, but label smoothing gives it a share.
    """
    present = counts > 0
    weights = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 1.0)
    return torch.from_numpy(weights).float()


def _criterion(name: str, label_smoothing: float, threshold: float | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Logits (B, classes) and targets, class indices (B,) or shares (B, classes), to a loss for each image (B,).

    Shares come from mixing, which has smoothed them already.
    """
    if name == "bce":
        from timm.loss import BinaryCrossEntropy

        each = BinaryCrossEntropy(label_smoothing, threshold, reduction="none")
        return lambda logits, targets: each(logits, targets).mean(1)

    def over_classes(logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = label_smoothing if targets.ndim == 1 else 0.0
        return cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")

    return over_classes
