"""A step whose loss or gradient is not finite: what it saw, where it began, and the same step again.

The step's inputs and weights go to a folder of their own. Randomness is counted, so these and the step's number are
all that a replay needs.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from dsmixer.data.loader import Batch
from dsmixer.data.seeds import seed_step
from dsmixer.engine.checkpoint import CheckpointError, to_safetensors, write_atomically
from dsmixer.engine.distributed import Group
from dsmixer.engine.hardware import autocast
from dsmixer.engine.loop import Plan
from dsmixer.engine.parallel import collected, whole
from dsmixer.tasks.base import Task


class AnyBatch(Protocol):
    """What every kind of training batch can do."""

    @property
    def images(self) -> Iterable[Tensor]:
        """One by one, (C, H, W)."""
        ...

    def to(self, device: torch.device, channels_last: bool = False) -> Self:
        """On another device."""
        ...

    def pack(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        ...

    @classmethod
    def unpack(cls, tensors: dict[str, Tensor]) -> Self:
        """The batch that was packed."""
        ...


def diagnose(
    model: nn.Module, task: Task, batches: Sequence[AnyBatch], plan: Plan, step: int, rank: int
) -> dict[str, Any]:
    """Compute a step's losses and gradients again, watching every module; the weights stay as they are.

    Returns ``losses`` (one a batch, as text, for JSON has no NaN), ``module``, the first whose output is not finite
    (None if all are), and ``gradients``, the parameters whose gradient is not.
    """
    found: list[str] = []
    device = next(model.parameters()).device

    def watch(name: str) -> Any:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not found and not all(tensor.isfinite().all() for tensor in tensors_in(output)):
                found.append(name)

        return look

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    losses = []
    try:
        seed_step(plan.seed, step, rank)
        model.train()
        task.at_epoch(plan.epoch(step))
        model.zero_grad()
        with torch.compiler.set_stance("force_eager"):  # compiled code would not call the hooks
            for batch in batches:
                with autocast(plan.precision, device):
                    loss, _ = task.loss(model, batch.to(device, plan.channels_last))
                loss.backward()
                losses.append(str(float(loss.detach())))
        gradients = [
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and not whole(parameter.grad).isfinite().all()
        ]
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad()
    images = not all(image.isfinite().all() for batch in batches for image in batch.images)
    return {"losses": losses, "module": "the images" if images else (found or [None])[0], "gradients": gradients}


def tensors_in(output: Any) -> Iterator[Tensor]:
    """The tensors of what a module returns, however deep in dicts, lists and tuples they lie."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from tensors_in(list(output.values()))
    elif isinstance(output, list | tuple):
        for part in output:
            yield from tensors_in(part)


def kinds() -> dict[str, type[AnyBatch]]:
    """What a captured batch can be, by the name that is written down."""
    from dsmixer.data.boxes.batches import BoxBatch
    from dsmixer.data.masks.batches import MaskBatch

    return {kind.__name__: kind for kind in (Batch, MaskBatch, BoxBatch)}


def is_finite(findings: dict[str, Any]) -> bool:
    """Whether the images, every output and every gradient were finite."""
    return not (findings["module"] or findings["gradients"])


def sentence(findings: dict[str, Any]) -> str:
    """The findings in words."""
    gradients = findings["gradients"]
    if findings["module"]:
        return f"the first output that is not finite is that of {findings['module']}"
    if gradients:
        more = f" and {len(gradients) - 3} more" if len(gradients) > 3 else ""
        return f"every output is finite, but not the gradient of {', '.join(gradients[-3:])}{more}"
    return "every output and gradient is finite"


def capture(
    folder: Path,
    model: nn.Module,
    batches: Sequence[AnyBatch],
    facts: dict[str, Any],
    findings: dict[str, Any],
    group: Group,
) -> None:
    """Write the weights, and each process's inputs and findings, into ``folder``; all processes must call it."""
    weights = collected(model.state_dict(), group)
    if group.is_main:
        folder.mkdir(exist_ok=True)
    group.wait()
    inputs = {f"{n}/{name}": value for n, batch in enumerate(batches) for name, value in batch.pack().items()}
    write_atomically(folder / f"inputs-{group.rank}.safetensors", to_safetensors(inputs))
    if group.is_main:
        write_atomically(folder / "weights.safetensors", to_safetensors(weights))
    facts = {**facts, "batch": type(batches[0]).__name__, "batches": len(batches)}
    text = json.dumps({**facts, "rank": group.rank, "world": group.world, **findings}, indent=2) + "\n"
    write_atomically(folder / f"step-{group.rank}.json", text)
    group.wait()


def captured(folder: Path, group: Group) -> tuple[dict[str, Tensor], list[AnyBatch], dict[str, Any]]:
    """Weights, and one process's inputs and facts, that ``capture`` wrote; ``CheckpointError`` if they are unreadable.

    A process alone gets those of the first that was not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        ranks = range(len(list(folder.glob("step-*.json")))) if group.world == 1 else [group.rank]
        told = [json.loads((folder / f"step-{rank}.json").read_bytes()) for rank in ranks]
        facts = next((facts for facts in told if not is_finite(facts)), told[0])
        rank = facts["rank"]
        weights = load((folder / "weights.safetensors").read_bytes())
        # cloned, so that memory is aligned as it was: sums over unaligned memory have other last bits
        inputs = {
            name: value.clone() for name, value in load((folder / f"inputs-{rank}.safetensors").read_bytes()).items()
        }
        batches = [_unpack(kinds()[facts["batch"]], inputs, f"{number}/") for number in range(facts["batches"])]
    except (OSError, ValueError, LookupError, SafetensorError) as error:
        raise CheckpointError(f"{folder} does not hold the capture of a step, or it is damaged: {error}") from error
    return weights, batches, facts


def _unpack(kind: type[AnyBatch], inputs: dict[str, Tensor], prefix: str) -> AnyBatch:
    return kind.unpack({name[len(prefix) :]: value for name, value in inputs.items() if name.startswith(prefix)})
