"""The training loop.

Nothing random is carried from step to step: the batch is a function of (seed, epoch, position), and the generators are
seeded by (seed, step) before each step. So a run that resumes at step n does what it would have done.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from dsmixer.data.loader import Batch
from dsmixer.data.seeds import STEP, counted_seed, seed_generators
from dsmixer.engine.console import Console
from dsmixer.engine.hardware import autocast
from dsmixer.engine.interrupt import Interrupt
from dsmixer.engine.optimizer import learning_rate, set_learning_rate
from dsmixer.engine.state import Meter, TrainState
from dsmixer.tasks.base import Task


class TrainingError(RuntimeError):
    """Training cannot go on; the message is one sentence for the user."""


class Interrupted(Exception):  # noqa: N818  no error: a person asked
    """A signal asked the run to stop."""


@dataclass(frozen=True)
class Plan:
    """How long, how fast, how careful; the units are those of ``OptimConfig`` and ``RunConfig``."""

    seed: int
    epochs: int
    steps_per_epoch: int
    batch_size: int
    accumulate: int
    lr: float
    min_lr: float
    warmup_steps: int
    clip_grad: float | None
    precision: str
    check_every: int
    save_every_seconds: float

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return learning_rate(step, self.steps, self.warmup_steps, self.lr, self.min_lr)


def fit(
    *,
    state: TrainState,
    task: Task,
    plan: Plan,
    batches: Iterator[Batch],
    val: Iterable[Batch],
    save: Callable[[], None],
    console: Console,
    interrupt: Interrupt,
    device: torch.device,
) -> None:
    """Train from ``state.step`` to the end of the plan, evaluating and saving after every epoch.

    Raises ``Interrupted`` after saving when a signal came, ``TrainingError`` at a loss that is not finite.
    """
    # reading a loss waits for a GPU, but costs a CPU nothing: there, every step is looked at
    check_every = 1 if device.type == "cpu" else plan.check_every
    pending: list[tuple[int, Tensor, list[int]]] = []
    saved = time.monotonic()
    judge = partial(evaluate, state.judged, task, val, precision=plan.precision, device=device, interrupt=interrupt)
    while True:
        epochs_done = state.step // plan.steps_per_epoch
        epoch_over = epochs_done > len(state.history)
        late = time.monotonic() - saved > plan.save_every_seconds
        if pending and (epoch_over or late or interrupt.signal or state.step % check_every == 0):
            stop_unless_finite(pending, plan)
        if epoch_over:
            try:
                close_epoch(state, plan, judge(), task)
            except Interrupted:
                save()  # the epoch's steps are done; a resume begins with its evaluation
                raise
            console.say(epoch_line(state.history[-1], plan.epochs))
        if epoch_over or late or interrupt.signal:
            save()
            saved = time.monotonic()
        if interrupt.signal:
            raise Interrupted
        if state.step == plan.steps:
            return
        begin = time.perf_counter()
        pending.append((state.step, *train_step(state, task, plan, batches, device)))
        state.step += 1
        state.seconds += time.perf_counter() - begin
        if console.wants_news() and state.step % check_every == 0:
            rate = state.meter.steps * plan.batch_size / state.seconds
            console.show(state.step, f"{epochs_done + 1}/{plan.epochs}", state.meter.means(), rate)


def train_step(
    state: TrainState, task: Task, plan: Plan, batches: Iterator[Batch], device: torch.device
) -> tuple[Tensor, list[int]]:
    """One update. Returns whether loss and gradient were finite, a tensor not yet waited for, and the rows it saw."""
    seed = counted_seed(plan.seed, STEP, state.step)
    seed_generators(seed)
    torch.manual_seed(seed)  # the generators of every GPU as well
    set_learning_rate(state.optimizer, plan.rate(state.step))
    state.model.train()
    finite, rows = torch.tensor(True, device=device), []
    for _ in range(plan.accumulate):
        batch = next(batches)
        rows += batch.rows.tolist()
        with autocast(plan.precision, device):
            loss, shown = task.loss(state.model, batch.to(device))
        (loss / plan.accumulate).backward()
        state.meter.add(shown)
        finite = finite & loss.detach().isfinite()
    if plan.clip_grad is not None:
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), plan.clip_grad)
        finite = finite & norm.isfinite()
    state.optimizer.step()
    state.optimizer.zero_grad()
    if state.averaged:
        state.averaged.update(state.model, state.step)
    return finite, rows


def stop_unless_finite(pending: list[tuple[int, Tensor, list[int]]], plan: Plan) -> None:
    """Look at the steps since the last look; nothing was saved in between, so the last checkpoint is a good one."""
    if not all(torch.stack([finite for _, finite, _ in pending]).tolist()):
        step, _, rows = next(entry for entry in pending if not entry[1])
        raise TrainingError(
            f"loss or gradient is not finite at step {step} (learning rate {plan.rate(step):.3g}, sample rows {rows}); "
            "the last checkpoint is from before. A lower --optim.lr, a longer --optim.warmup_epochs or a smaller "
            "--optim.clip_grad would help, or a look at these samples"
        )
    pending.clear()


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    task: Task,
    batches: Iterable[Batch],
    *,
    precision: str,
    device: torch.device,
    interrupt: Interrupt,
) -> dict[str, float]:
    """Metrics of ``model`` on ``batches``; ``Interrupted`` when a signal comes."""
    model.eval()
    task.reset()
    for batch in batches:
        if interrupt.signal:
            raise Interrupted
        with autocast(precision, device):
            task.update(model, batch.to(device))
    return task.compute()


def close_epoch(state: TrainState, plan: Plan, val: dict[str, float], task: Task) -> None:
    """Turn the meter into a row of history and remember the best epoch; of equals the later, for its lower rate."""
    epoch = len(state.history) + 1
    images = state.meter.steps * plan.batch_size
    row: dict[str, float] = {"epoch": epoch, "step": state.step, "lr": plan.rate(state.step - 1)}
    row |= {f"train_{name}": value for name, value in state.meter.means().items()}
    row |= {f"val_{name}": value for name, value in val.items()}
    row |= {"seconds": round(state.seconds, 3), "images_per_second": round(images / max(state.seconds, 1e-9), 1)}
    state.history.append(row)
    score = task.score(val)
    floor = state.best["floor"] if state.best else -math.inf
    if score >= floor:
        state.best = {"step": state.step, "epoch": epoch, "floor": max(floor, score - task.slack(val))}
    state.meter, state.seconds = Meter(), 0.0


def epoch_line(row: dict[str, float], epochs: int) -> str:
    """A finished epoch in one line."""
    shown = [f"{name.replace('_', ' ')} {row[name]:.4f}" for name in row if name.startswith(("train_", "val_"))]
    return f"epoch {row['epoch']:.0f}/{epochs}  " + "  ".join(shown) + f"  {row['images_per_second']:,.0f} images/s"
