"""What the engine knows about a task, whatever is predicted."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn


class Task(ABC):
    """Loss, metrics and pictures of one kind of prediction. The engine calls these methods and looks no deeper."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a training batch, and scalars worth averaging over the epoch (detached, same keys every time)."""

    def at_epoch(self, epoch: int) -> None:  # noqa: B027  most tasks have nothing to change
        """Told before every training step, so that what changes with the epoch (from 0) needs no memory."""

    @abstractmethod
    def reset(self) -> None:
        """Forget what ``update`` saw."""

    @abstractmethod
    def update(self, model: nn.Module, batch: Any) -> None:
        """Add a batch to the evaluation."""

    @abstractmethod
    def merge(self, gather: Callable[[Tensor], list[Tensor]]) -> None:
        """Take in what ``update`` saw in the other processes; ``gather`` gives every process's block (C, N)."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Metrics of everything since ``reset``."""

    @abstractmethod
    def score(self, metrics: dict[str, float]) -> float:
        """How good metrics of ``compute`` are, higher is better: it chooses the best checkpoint."""

    @abstractmethod
    def slack(self, metrics: dict[str, float]) -> float:
        """How far below this score a later epoch may be and still be preferred; 0 to insist on the highest."""

    @abstractmethod
    def report(self, folder: Path) -> list[str]:
        """Pictures of the evaluation since ``reset``, written into ``folder``; returns Markdown lines about it."""
