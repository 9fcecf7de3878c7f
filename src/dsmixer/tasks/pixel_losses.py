"""Losses of logits (B, C, H, W) against masks (B, H, W) of class indices and ``IGNORE``, in float32.

A crop in which nothing is scored has loss 0 and a gradient of zeros; PyTorch's own mean is not a number there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dsmixer.data.masks.files import IGNORE


@dataclass(frozen=True)
class PixelLoss:
    """Cross-entropy and Dice.

    Args:
        class_weights: a factor for the cross-entropy of each class's pixels; None for 1.
        hard_below: online hard example mining: only pixels whose class has less than this probability count; 0 for off.
        hard_share: but at least this share of the scored pixels of a batch, the hardest.
        dice: weight of the Dice loss beside the cross-entropy; 0 for off.
        over_processes: the mean of a count over the processes that share a batch, so that the average of their losses
            is the loss of the whole batch. Which pixels are hard, and Dice, each decides for its own part.
    """

    class_weights: list[float] | None
    hard_below: float
    hard_share: float
    dice: float
    over_processes: Callable[[Tensor], Tensor] = lambda count: count

    def __post_init__(self) -> None:
        if not 0 <= self.hard_below < 1 or not 0 <= self.hard_share <= 1:
            raise ValueError(
                f"hard_below is {self.hard_below} and hard_share {self.hard_share}; a probability such as 0.7 (0 for "
                "off) and a share such as 0.1 are expected"
            )
        if self.dice < 0 or min(self.class_weights or [0.0]) < 0:
            raise ValueError(f"the weights {self.dice} of dice and {self.class_weights} of classes may not be negative")

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The loss of a batch; ``ValueError`` for weights of another number of classes than the logits."""
        loss = self._cross_entropy(logits.float(), masks)
        return loss + self.dice * dice_loss(logits, masks) if self.dice else loss

    def _cross_entropy(self, logits: Tensor, masks: Tensor) -> Tensor:
        losses, counted = cross_entropy(logits, masks, ignore_index=IGNORE, reduction="none"), masks != IGNORE
        if self.hard_below:
            counted = hard_pixels(losses.detach(), counted, self.hard_below, self.hard_share)
        if self.class_weights is not None:
            if len(self.class_weights) != logits.shape[1]:
                raise ValueError(f"{len(self.class_weights)} class weights for {logits.shape[1]} classes")
            losses = losses * factors(tuple(self.class_weights), losses.device)[masks.clamp(min=0)]
        # where hardly anything is scored in all, a mean below 1 is a count of 1 in one of them
        return (losses * counted).sum() / self.over_processes(counted.sum()).clamp(min=1)


@lru_cache(maxsize=8)
def factors(weights: tuple[float, ...], device: torch.device) -> Tensor:
    """The weights of the classes, brought to a device once: the copy waits for a GPU."""
    return torch.tensor(weights, device=device)


def hard_pixels(losses: Tensor, scored: Tensor, below: float, share: float) -> Tensor:
    """Which of the ``scored`` pixels have probability < ``below``, or are among the hardest ``share`` of them.

    Shrivastava et al. 2016, for pixels as in mmsegmentation. Waits for no device: the rank is looked up there.
    """
    hardest = losses.masked_fill(~scored, -1.0).flatten().sort(descending=True).values
    last = (scored.sum() * share).ceil().long() - 1
    floor = torch.where(last >= 0, hardest.gather(0, last.clamp(min=0)[None])[0], math.inf)
    return scored & (losses >= floor.clamp(max=-math.log(below)))


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - 2 Σ p·t / (Σ p + Σ t), sums over the scored pixels of the batch, mean over the classes present there.

    p is the softmax and t 1 where the mask has the class (Milletari et al. 2016, without their squares).
    """
    scored = (masks != IGNORE)[:, None]
    probability = logits.float().softmax(1) * scored
    truth = torch.zeros_like(probability).scatter_(1, masks.clamp(min=0)[:, None], 1.0) * scored
    overlap, total = (x.sum((0, 2, 3)) for x in (probability * truth, probability + truth))
    present = truth.sum((0, 2, 3)) > 0
    losses = 1 - 2 * overlap / total.clamp(min=1e-6)
    return (losses * present).sum() / present.sum().clamp(min=1)
