"""Everything that changes while training: what a checkpoint holds and a resume puts back."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dsmixer.engine.distributed import Group
from dsmixer.engine.optimizer import AveragedWeights
from dsmixer.engine.parallel import beside, collected, load_whole


class Meter:
    """Means over an epoch's batches, summed in float64 on the device: adding does not wait for it, reading does."""

    def __init__(self) -> None:
        self.batches = 0.0  # a share of a batch, after a resume with other processes
        self.sums: dict[str, Tensor] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Count one batch's scalars."""
        self.batches += 1
        for name, value in values.items():
            term = value.to(_sum_type(value.device))
            self.sums[name] = self.sums[name] + term if name in self.sums else term

    def means(self) -> dict[str, float]:
        """Mean of each scalar so far, in this process."""
        return {name: float(value) / self.batches for name, value in self.sums.items()}

    def pack(self, group: Group) -> list[dict[str, float]]:
        """Each process's count and sums, as plain values; all processes must ask."""
        names = sorted(self.sums)
        mine = torch.tensor([self.batches, *(float(self.sums[name]) for name in names)], dtype=torch.float64)
        columns = [block[:, 0].tolist() for block in group.gather(mine[:, None])]
        return [dict(zip(["batches", *names], column, strict=True)) for column in columns]

    def unpack(self, packed: list[dict[str, float]], group: Group, device: torch.device) -> None:
        """Back from plain values: one's own, or, from another number of processes, the mean of theirs."""
        mean = {name: total / len(packed) for name, total in summed(packed).items()}
        mine = packed[group.rank] if len(packed) == group.world else mean
        self.batches = mine["batches"]
        self.sums = {
            name: torch.tensor(value, dtype=_sum_type(device), device=device)
            for name, value in mine.items()
            if name != "batches"
        }


def summed(packed: list[dict[str, float]]) -> dict[str, float]:
    """Counts and sums of all processes together, added in the order of ranks."""
    return {name: sum(part[name] for part in packed) for name in packed[0]}


class TrainState:
    """Model, optimizer, averaged weights, and the counters and history that belong to them.

    ``trained`` is what a step calls: the model, or what replicates it. ``scaler`` keeps float16's gradients above zero.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        averaged: AveragedWeights | None,
        *,
        trained: nn.Module | None = None,
        scaler: torch.amp.GradScaler | None = None,
        group: Group | None = None,
    ) -> None:
        self.model, self.optimizer, self.averaged = model, optimizer, averaged
        self.trained = trained or model
        self.scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
        self.group = group or Group()
        self.options = [dict(options) for options in optimizer.param_groups]  # before the first step
        self.step = 0  # finished optimizer steps
        self.skipped = 0  # the steps just before, in a row, that were not finite
        self.history: list[dict[str, float]] = []  # one row a finished epoch
        self.best: dict[str, float] | None = None  # step and epoch of the best, and the score that beats it
        self.meter = Meter()
        self.seconds = 0.0  # spent training in the current epoch

    @property
    def judged(self) -> nn.Module:
        """The weights that are evaluated and delivered."""
        return self.averaged.model if self.averaged else self.model

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, those in shards only for the main process, and plain values; all processes must ask."""
        tensors, facts = self._parts()
        return collected(tensors, self.group), {**facts, "meter": self.meter.pack(self.group)}

    def _parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, in shards where the model is, and plain values of all but the meter."""
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        if self.averaged:
            tensors |= {f"averaged/{name}": value for name, value in self.averaged.model.state_dict().items()}
        scalars: dict[str, Any] = {}
        for index, slots in self.optimizer.state_dict()["state"].items():
            for name, value in slots.items():
                (tensors if isinstance(value, Tensor) else scalars)[f"optimizer/{index}/{name}"] = value
        facts = {"step": self.step, "history": self.history, "best": self.best, "seconds": self.seconds}
        facts |= {
            "groups": self._counters(),
            "skipped": self.skipped,
            "scaler": self.scaler.state_dict(),
            "optimizer": scalars,
        }
        return tensors, facts

    def size(self) -> int:
        """Bytes of a checkpoint's tensors, of the first one before there is any.

        An optimizer keeps nothing before its first step; AdamW, LAMB and their like then keep two moments a weight.
        """
        tensors = list(self._parts()[0].values())
        if not self.optimizer.state:
            tensors += 2 * [parameter for part in self.optimizer.param_groups for parameter in part["params"]]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def unpack(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Put back what ``pack`` gave, on the devices where the model is now."""
        load_whole(self.model, _below("model/", tensors))
        if self.averaged:
            load_whole(self.averaged.model, _below("averaged/", tensors))
        parameters = [parameter for part in self.optimizer.param_groups for parameter in part["params"]]
        slots: dict[int, dict[str, Any]] = {}
        for name, value in {**_below("optimizer/", tensors), **_below("optimizer/", facts["optimizer"])}.items():
            index, slot = name.split("/")
            value = beside(parameters[int(index)], value) if isinstance(value, Tensor) else value  # noqa: PLW2901
            slots.setdefault(int(index), {})[slot] = value
        groups = self.optimizer.state_dict()["param_groups"]  # rebuilt from the configuration, but for their counters
        for options, counters in zip(groups, facts["groups"], strict=True):
            options.update(counters)
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.step, self.history, self.best = facts["step"], facts["history"], facts["best"]
        self.seconds, self.skipped = facts["seconds"], facts["skipped"]
        if facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        self.meter.unpack(facts["meter"], self.group, next(self.model.parameters()).device)

    def _counters(self) -> list[dict[str, Any]]:
        """What steps have changed in the optimizer's groups, beside the rate: LAMB and Adan count their steps there."""
        return [
            {
                name: value.item() if isinstance(value, Tensor) else value
                for name, value in options.items()
                if name not in ("params", "lr") and value != before.get(name)
            }
            for options, before in zip(self.optimizer.param_groups, self.options, strict=True)
        ]


def judged_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights to evaluate and deliver out of a checkpoint's tensors: the averaged ones where there are any."""
    return _below("averaged/", tensors) or _below("model/", tensors)


def _sum_type(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64


def _below(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
