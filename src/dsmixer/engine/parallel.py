"""A model on several processes: replicated (DDP) or in shards (``fully_shard``), and whole again for a checkpoint.

Checkpoints hold whole tensors under the model's own names, so that a run may go on with another number of processes or
the other strategy.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dsmixer.engine.distributed import Group


def pick_strategy(name: str, group: Group) -> str:
    """ "none" for one process; "auto" is "ddp" for several."""
    if group.world == 1:
        return "none"
    return "ddp" if name == "auto" else name


def shard(model: nn.Module, group: Group, device: torch.device) -> None:
    """Every process keeps its part of each parameter; what is in a container called ``blocks`` is gathered by itself.

    To be called before the optimizer is made, for the parameters are replaced.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (group.world,))
    containers = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "blocks"]
    for block in [block for container in containers for block in container.children()]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def replicate(model: nn.Module, device: torch.device) -> nn.Module:
    """The model as one of several equal ones, whose gradients are averaged in the backward pass."""
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


@contextmanager
def exchanging(model: nn.Module, now: bool) -> Iterator[None]:
    """Inside, the backward pass exchanges gradients with the other processes only if ``now``; else it adds them up."""
    kind = type(model).__name__  # by name: to import fully_shard takes seconds, and few need it
    handle: Any = model
    if kind.startswith("FSDP"):
        handle.set_requires_gradient_sync(now)
    with handle.no_sync() if kind == "DistributedDataParallel" and not now else nullcontext():
        yield


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Inside, every process holds all of each parameter that is in shards, so that it may run the model as often as it
    likes: otherwise every run gathers, and waits for one of all the others."""
    parts: list[Any] = [module for module in model.modules() if type(module).__name__.startswith("FSDP")]
    for part in parts:
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    yield
    for part in parts:
        part.reshard()
        part.set_reshard_after_forward(part is not model, recurse=False)


def collected(tensors: dict[str, Tensor], group: Group) -> dict[str, Tensor]:
    """Whole tensors by name, of which those in shards come one after the other to the memory of the main process's CPU;
    the others get none of these. All processes must ask."""
    found = {}
    for name, value in tensors.items():
        full = whole(value)
        if full is value:
            found[name] = full
        elif group.is_main:
            found[name] = full.cpu()
    return found


def whole(tensor: Any) -> Tensor:
    """All of a tensor that may be in shards; all processes must ask."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def like(mine: Any, full: Tensor) -> Tensor:
    """``full``, in shards where ``mine`` is and has its shape; every process has read it, so nothing is sent."""
    if not hasattr(mine, "full_tensor") or mine.shape != full.shape:
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full.to(mine.device), mine.device_mesh, mine.placements, src_data_rank=None)


def beside(parameter: Tensor, slot: Tensor) -> Tensor:
    """What an optimizer keeps for a parameter, in shards or in the memory format of it: else its steps are slow."""
    if hasattr(parameter, "full_tensor") or parameter.shape != slot.shape:
        return like(parameter, slot)
    return torch.empty_like(parameter, dtype=slot.dtype).copy_(slot)


def load_whole(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """``load_state_dict`` of whole tensors, into shards too."""
    mine = module.state_dict()
    module.load_state_dict({name: like(mine[name], full) if name in mine else full for name, full in tensors.items()})
