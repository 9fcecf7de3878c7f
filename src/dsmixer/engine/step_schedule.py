"""The learning rates detectors are compared by: constant, then a tenth, then a hundredth."""

from typing import NamedTuple


class StepSchedule(NamedTuple):
    """Length in epochs, and after how many of them the rate falls to a tenth."""

    epochs: int
    drops: tuple[int, ...]

    def rate(self, step: int, steps_per_epoch: int, lr: float, warmup_steps: int) -> float:
        """Learning rate of a step (from 0): linear warm-up from nearly zero to ``lr``, then the drops."""
        passed = sum(step >= drop * steps_per_epoch for drop in self.drops)
        return lr * 0.1**passed * min(1.0, (step + 1) / (warmup_steps + 1))


# COCO's customs: "1x" passes over train2017 twelve times (He, Girshick & Dollár 2019, arXiv 1811.08883)
STEP_SCHEDULES = {"1x": StepSchedule(12, (8, 11)), "3x": StepSchedule(36, (27, 33))}
CUSTOMARY_BATCH = 16  # images a step that published rates are for


def rate_for_batch(lr: float, batch_size: int) -> float:
    """A published rate for a batch of another size: proportional (Goyal et al. 2017, arXiv 1706.02677)."""
    return lr * batch_size / CUSTOMARY_BATCH
