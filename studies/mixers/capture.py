"""Training on a GPU: a step is captured as one CUDA graph, and several runs share the GPU, each on its own stream.

A network of half a million parameters keeps a GPU waiting for Python. A replayed graph needs no Python, and the graphs
of several runs fill each other's gaps. The arithmetic is that of the CPU: float32, no TF32.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from studies.mixers.data import Images

Update = Callable[..., Tensor]
WARM_UP = 3  # steps before a capture, undone afterwards


class CapturedTraining:
    """One run whose batches, learning rates and step counter lie on the GPU; ``replay`` is a step.

    Args:
        update: one step of the optimizer on a batch; the loss before it.
        optimizer: made ``capturable``.
        model: whose state ``update`` changes.
        images: what ``draws``, an item an epoch, choose batches of.
        rates: the learning rate of every step.
    """

    def __init__(
        self,
        update: Update,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        images: Images,
        draws: Sequence[tuple[Tensor, ...]],
        rates: Sequence[float],
    ) -> None:
        self.update, self.optimizer, self.model, self.images = update, optimizer, model, images
        device = images.labels.device
        self.draws = [torch.cat(parts).to(device) for parts in zip(*draws, strict=True)]
        self.rates = torch.tensor(rates, device=device)
        self.losses = torch.zeros(len(rates), device=device)
        self.done = torch.zeros(1, dtype=torch.long, device=device)  # steps
        for group in optimizer.param_groups:
            group["lr"] = torch.zeros((), device=device)
        self.stream = torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self._warm_up()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self._step()

    def replay(self) -> None:
        """One step; returns before it is done."""
        with torch.cuda.stream(self.stream):
            self.graph.replay()

    def _step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"].copy_(self.rates[self.done][0])
        x, y = self.images.batch(*(drawn[self.done][0] for drawn in self.draws))
        self.losses[self.done] = self.update(x, y, optimizer=self.optimizer)
        self.done += 1

    def _warm_up(self) -> None:
        """Let every library allocate what it needs, then put all state back in place."""
        state = [*self.model.parameters(), *self.model.buffers()]
        before = [tensor.detach().clone() for tensor in state]
        for _ in range(WARM_UP):
            self._step()
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
            for moments in self.optimizer.state.values():
                for tensor in moments.values():
                    tensor.zero_()
            self.done.zero_()


def interleaved(trainings: list[CapturedTraining]) -> None:
    """Run all to their ends, a step of each in turn."""
    for step in range(max((len(training.losses) for training in trainings), default=0)):
        for training in trainings:
            if step < len(training.losses):
                training.replay()
    torch.cuda.synchronize()
