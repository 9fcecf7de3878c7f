"""The optimizer, and the averaged weights."""

import difflib
import fnmatch
from collections.abc import Collection
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def make_optimizer(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float,
    layer_decay: float | None,
    no_decay: Collection[str] = (),
    *,
    by_stage: bool = False,
) -> Optimizer:
    """timm's. Spared from decay: biases, norms, ``model.no_weight_decay()``, and names that match ``no_decay``.

    Each group's rate is ``lr`` times ``layer_decay`` for every layer above it; a layer is a block, or ``by_stage`` all
    blocks of a stage. ``ValueError`` for an optimizer that timm or this machine does not have, or that needs
    second derivatives, and for a pattern that matches no parameter.
    """
    from timm.optim import (
        create_optimizer_v2,
        get_optimizer_info,
        list_optimizers,
        param_groups_layer_decay,
        param_groups_weight_decay,
    )

    known = [str(optimizer) for optimizer in list_optimizers()]
    if name.lower() not in known:
        close = difflib.get_close_matches(name.lower(), known, 3) or ["adamw", "lamb", "sgd"]
        raise ValueError(f"optim.name is {name}, which timm does not have; try {', '.join(close)}")
    names = [parameter for parameter, _ in model.named_parameters()]
    for pattern in no_decay:
        if not fnmatch.filter(names, pattern):
            close = difflib.get_close_matches(pattern, names, 3, 0.4) or names[:3]
            raise ValueError(f"optim.no_decay has {pattern}, which is no parameter; there are {', '.join(close)}")
    if get_optimizer_info(name.lower()).second_order:
        raise ValueError(f"optim.name is {name}, which needs second derivatives; training takes the first: try adamw")
    spared = {*no_decay, *getattr(model, "no_weight_decay", set)()}
    shared = {"weight_decay": weight_decay, "no_weight_decay_list": spared}

    def groups(model: nn.Module) -> list[dict[str, Any]]:
        if layer_decay is None:
            return param_groups_weight_decay(model, **shared)
        layers: Any = _Stages(model) if by_stage else model
        return param_groups_layer_decay(layers, layer_decay=layer_decay, **shared)

    try:
        return create_optimizer_v2(model, name, lr, param_group_fn=groups)
    except (AssertionError, ImportError) as error:  # some are of other packages, some of GPUs alone
        raise ValueError(f"optim.name is {name}, which this machine does not offer ({error}); try adamw") from error


class _Stages:
    """Of a model what timm groups parameters by; its layers are its stages."""

    def __init__(self, model: Any) -> None:
        self.named_parameters = model.named_parameters
        self.group_matcher = lambda coarse: model.group_matcher(coarse=True)


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
