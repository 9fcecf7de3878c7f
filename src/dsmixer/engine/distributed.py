"""One process or many: who this one is, and the few things that processes tell each other.

`torchrun` says who is who in the environment. A process started without it is alone: nothing is initialised, and every
method answers at once. What is exchanged here are numbers of the book-keeping, on the CPU, so that a GPU is never
waited for.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Group:
    """This process among ``world``; all of them must call the same methods in the same order."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> "Group":
        """As torchrun announces it; alone without torchrun."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return cls(*(int(os.environ.get(name, default)) for name, default in zip(names, "010", strict=True)))

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and speaks to the person."""
        return self.rank == 0

    def highest(self, *values: float) -> list[int]:
        """The largest of each value (whole numbers, booleans) over all processes."""
        if self.world == 1:
            return [int(value) for value in values]
        import torch
        import torch.distributed as dist

        shared = torch.tensor([int(value) for value in values])
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return shared.tolist()

    def every(self, value: bool) -> bool:
        """Whether ``value`` holds in all processes."""
        return not self.highest(not value)[0]

    def from_main(self, value: int) -> int:
        """The main process's value."""
        if self.world == 1:
            return value
        import torch
        import torch.distributed as dist

        shared = torch.tensor(value)
        dist.broadcast(shared, 0)
        return int(shared)

    def mean(self, value: "Tensor") -> "Tensor":
        """The mean of a number over all processes, without a gradient, where ``value`` is."""
        if self.world == 1:
            return value
        import torch.distributed as dist

        shared = value.detach().double()
        dist.all_reduce(shared)
        return shared / self.world

    def gather(self, block: "Tensor") -> "list[Tensor]":
        """Every process's block (C, N), in the order of ranks, in every process; N may differ, C and dtype may not."""
        if self.world == 1:
            return [block]
        import torch
        import torch.distributed as dist

        widths = [torch.zeros((), dtype=torch.int64) for _ in range(self.world)]
        dist.all_gather(widths, torch.tensor(block.shape[1]))
        widest = block.new_zeros(block.shape[0], max(int(width) for width in widths))
        widest[:, : block.shape[1]] = block
        blocks = [torch.empty_like(widest) for _ in range(self.world)]
        dist.all_gather(blocks, widest)
        return [whole[:, : int(width)] for whole, width in zip(blocks, widths, strict=True)]

    def wait(self) -> None:
        """Until all processes are here."""
        self.highest(0)


def launched() -> bool:
    """Whether torchrun started this process, which may do so again with the same command."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def joined(group: Group, device: "torch.device", timeout: float) -> Iterator[None]:
    """Inside, the processes can talk: gloo between CPUs, NCCL between GPUs. ``timeout``: seconds without an answer."""
    if group.world == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    yield
    dist.destroy_process_group()  # not after an error: NCCL would wait for what a lost process will never answer


def lost_process(error: RuntimeError) -> str | None:
    """What to say if ``error`` is another process's end, as gloo and NCCL report it, else none."""
    text = str(error)
    if not any(word in text for word in ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")):
        return None
    reason = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"another process of this run ended or does not answer ({reason.strip()}); go on from the last checkpoint"
