"""Everything that changes while training: what a checkpoint holds and a resume puts back."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dsmixer.engine.optimizer import AveragedWeights


class Meter:
    """Means over the steps of an epoch, summed in float64 on the device: adding does not wait for it, reading does."""

    def __init__(self) -> None:
        self.steps = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Count one step's scalars."""
        self.steps += 1
        for name, value in values.items():
            term = value.to(_sum_type(value.device))
            self.sums[name] = self.sums[name] + term if name in self.sums else term

    def means(self) -> dict[str, float]:
        """Mean of each scalar so far."""
        return {name: float(value) / self.steps for name, value in self.sums.items()}

    def pack(self) -> dict[str, Any]:
        """As plain values."""
        return {"steps": self.steps, "sums": {name: float(value) for name, value in self.sums.items()}}

    def unpack(self, facts: dict[str, Any], device: torch.device) -> None:
        """Back from plain values."""
        self.steps = facts["steps"]
        self.sums = {
            name: torch.tensor(value, dtype=_sum_type(device), device=device) for name, value in facts["sums"].items()
        }


class TrainState:
    """Model, optimizer, averaged weights, and the counters and history that belong to them."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, averaged: AveragedWeights | None) -> None:
        self.model, self.optimizer, self.averaged = model, optimizer, averaged
        self.step = 0  # finished optimizer steps
        self.history: list[dict[str, float]] = []  # one row a finished epoch
        self.best: dict[str, float] | None = None  # step and epoch of the best, and the score that beats it
        self.meter = Meter()
        self.seconds = 0.0  # spent training in the current epoch

    @property
    def judged(self) -> nn.Module:
        """The weights that are evaluated and delivered."""
        return self.averaged.model if self.averaged else self.model

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and plain values."""
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        if self.averaged:
            tensors |= {f"averaged/{name}": value for name, value in self.averaged.model.state_dict().items()}
        scalars: dict[str, Any] = {}
        for index, slots in self.optimizer.state_dict()["state"].items():
            for name, value in slots.items():
                (tensors if isinstance(value, Tensor) else scalars)[f"optimizer/{index}/{name}"] = value
        facts = {"step": self.step, "history": self.history, "best": self.best, "seconds": self.seconds}
        return tensors, {**facts, "meter": self.meter.pack(), "optimizer": scalars}

    def unpack(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Put back what ``pack`` gave, on the devices where the model is now."""
        self.model.load_state_dict(_below("model/", tensors))
        if self.averaged:
            self.averaged.model.load_state_dict(_below("averaged/", tensors))
        slots: dict[int, dict[str, Any]] = {}
        for name, value in {**_below("optimizer/", tensors), **_below("optimizer/", facts["optimizer"])}.items():
            index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = value
        groups = self.optimizer.state_dict()["param_groups"]  # rebuilt from the configuration, not stored
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.step, self.history, self.best = facts["step"], facts["history"], facts["best"]
        self.seconds = facts["seconds"]
        self.meter.unpack(facts["meter"], next(self.model.parameters()).device)


def judged_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights to evaluate and deliver out of a checkpoint's tensors: the averaged ones where there are any."""
    return _below("averaged/", tensors) or _below("model/", tensors)


def _sum_type(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64


def _below(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
