"""The learning rate as a function of the step."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to ``peak``, then the fall to ``floor``; ``warmup`` and ``total`` in steps.

    ``kind`` is "cosine" (half of one), "poly" (``power`` of the share of steps left) or "step" (a tenth, and again a
    tenth, from each step of ``drops`` on; how detectors are compared: He, Girshick & Dollár 2019, arXiv 1811.08883).
    """

    kind: str
    peak: float
    floor: float
    warmup: int
    total: int
    power: float = 1.0
    drops: tuple[int, ...] = ()

    def rate(self, step: int) -> float:
        """Of step ``step``, from 0 to below ``total``."""
        risen = self.peak * (step + 1) / self.warmup if step < self.warmup else self.peak
        if self.kind == "step":
            return risen * 0.1 ** sum(step >= drop for drop in self.drops)
        if step < self.warmup:
            return risen
        progress = min(1.0, (step - self.warmup) / max(1, self.total - 1 - self.warmup))
        left = 0.5 * (1 + math.cos(math.pi * progress)) if self.kind == "cosine" else (1 - progress) ** self.power
        return self.floor + (self.peak - self.floor) * left


def for_batch(rate: float, given_for: int | None, batch_size: int) -> float:
    """A rate given for another batch size: proportional to the batch (Goyal et al. 2017, arXiv 1706.02677)."""
    return rate if given_for is None else rate * batch_size / given_for
