"""The optimizer, its learning rate as a function of the step, and the averaged weights."""

import difflib
import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def learning_rate(step: int, total: int, warmup: int, peak: float, floor: float) -> float:
    """Rate of step ``step`` of ``total``, from 0: linear warm-up to ``peak``, then half a cosine to ``floor``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - 1 - warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_optimizer(model: nn.Module, name: str, lr: float, weight_decay: float, layer_decay: float | None) -> Optimizer:
    """timm's: it spares biases, norms and ``model.no_weight_decay()``, and groups layers for ``layer_decay``."""
    from timm.optim import create_optimizer_v2, list_optimizers

    known = [str(optimizer) for optimizer in list_optimizers()]
    if name.lower() not in known:
        close = difflib.get_close_matches(name.lower(), known, 3) or ["adamw", "lamb", "sgd"]
        raise ValueError(f"optim.name is {name}, which timm does not have; try {', '.join(close)}")
    return create_optimizer_v2(model, opt=name, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """``rate`` times each group's ``lr_scale``, where layer decay set one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


class AveragedWeights:
    """Exponential moving average of a model; young averages forget faster: decay min(decay, (1 + n) / (10 + n))."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards ``model`` after its update number ``step``, counted from 0."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averaged: list[Tensor] = []
        current: list[Tensor] = []
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                averaged.append(mine)
                current.append(theirs)
            else:
                mine.copy_(theirs)
        torch._foreach_lerp_(averaged, current, weight)
