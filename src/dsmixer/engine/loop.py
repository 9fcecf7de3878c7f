"""The training loop.

Nothing random is carried from step to step: the batch is a function of (seed, epoch, position), and the generators are
seeded by (seed, step) before each step. So a run that resumes at step n does what it would have done.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dsmixer.data.loader import Batch
from dsmixer.data.seeds import seed_step
from dsmixer.engine.console import Console
from dsmixer.engine.distributed import Group
from dsmixer.engine.hardware import autocast
from dsmixer.engine.interrupt import Interrupt
from dsmixer.engine.optimizer import set_learning_rate
from dsmixer.engine.parallel import exchanging, gathered, whole
from dsmixer.engine.schedule import Schedule
from dsmixer.engine.state import Meter, TrainState, summed
from dsmixer.tasks.base import Task


class TrainingError(RuntimeError):
    """Training cannot go on; the message is one sentence for the user."""


class Interrupted(Exception):  # noqa: N818  no error: a person asked
    """A signal, the argument, asked the run to stop."""


@dataclass(frozen=True)
class Plan:
    """How long, how fast, how careful; the units are those of ``OptimConfig`` and ``RunConfig``."""

    seed: int
    epochs: int
    steps_per_epoch: int
    batch_size: int
    accumulate: int
    repeats: int
    schedule: Schedule
    clip_grad: float | None
    precision: str
    check_every: int
    save_every_seconds: float
    max_nonfinite: int
    channels_last: bool

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """Epoch of a step, both counted from 0."""
        return step // self.steps_per_epoch

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.schedule.rate(step)


def fit(
    *,
    state: TrainState,
    task: Task,
    plan: Plan,
    batches: Iterator[Batch],
    val: Iterable[Batch],
    save: Callable[[], None],
    capture: Callable[["Step"], str],
    named: Callable[[list[int]], str],
    console: Console,
    interrupt: Interrupt,
    device: torch.device,
) -> None:
    """Train from ``state.step`` to the end of the plan, evaluating and saving after every epoch.

    Raises ``Interrupted`` after saving when a signal came, ``TrainingError`` at a loss that is not finite. ``capture``
    writes down such a step and returns what it found; ``named`` says which images lie in some rows. Of several
    processes each runs this, and all agree on when to save, stop and skip.
    """
    told = partial(described, plan, named)
    pending: list[Step] = []
    saved = time.monotonic()
    judge = partial(evaluate, state.judged, task, val, plan, device=device, interrupt=interrupt, group=state.group)
    while True:
        epochs_done = state.step // plan.steps_per_epoch
        epoch_over = epochs_done > len(state.history)
        late = time.monotonic() - saved > plan.save_every_seconds
        stop, late = state.group.highest(interrupt.signal, late)
        if pending and (epoch_over or late or stop or state.step % plan.check_every == 0):
            begin = time.perf_counter()
            stop_unless_finite(pending, state.group, told)  # waits for the steps themselves, where a GPU does them
            state.seconds += time.perf_counter() - begin
        if epoch_over:
            try:
                close_epoch(state, plan, judge(), task)
            except Interrupted:
                save()  # the epoch's steps are done; a resume begins with its evaluation
                raise
            console.say(epoch_line(state.history[-1], plan.epochs))
        if epoch_over or late or stop:
            save()
            saved = time.monotonic()
        if stop:
            raise Interrupted(stop)
        if state.step == plan.steps:
            return
        begin = time.perf_counter()
        step = train_step(state, task, plan, batches, device)
        if plan.check_every > 1:  # reading a loss waits for a GPU: look later, and take the step now
            pending.append(step._replace(batches=[]))
            update(state, step, told)
        elif state.group.every(bool(step.finite)):
            update(state, step, told)
        else:
            skip(state, plan, step, capture, console, told)
        state.step += 1
        state.seconds += time.perf_counter() - begin
        if console.wants_news() and state.step % plan.check_every == 0:
            done = (state.step - epochs_done * plan.steps_per_epoch) * plan.accumulate * plan.batch_size
            console.show(state.step, f"{epochs_done + 1}/{plan.epochs}", state.meter.means(), done / state.seconds)


class Step(NamedTuple):
    """What a step computed before it changes a weight; ``finite`` is a tensor not yet waited for."""

    number: int
    finite: Tensor
    shown: list[dict[str, Tensor]]
    batches: list[Batch]
    rows: list[int]


def train_step(state: TrainState, task: Task, plan: Plan, batches: Iterator[Batch], device: torch.device) -> Step:
    """The gradient of one step, averaged over its batches and all processes, and clipped."""
    seed_step(plan.seed, state.step, state.group.rank)
    set_learning_rate(state.optimizer, plan.rate(state.step))
    state.model.train()
    task.at_epoch(plan.epoch(state.step))
    step = Step(state.step, torch.ones((), dtype=torch.bool, device=device), [], [], [])
    finite = step.finite
    for number in range(plan.accumulate):
        batch = next(batches)
        with exchanging(state.trained, now=number == plan.accumulate - 1):
            with autocast(plan.precision, device):
                loss, shown = task.loss(state.trained, batch.to(device, plan.channels_last))
            state.scaler.scale(loss / plan.accumulate).backward()
        finite = finite & loss.detach().isfinite()
        step.shown.append(shown)
        step.batches.append(batch)
        step.rows.extend(batch.rows.tolist())
    state.scaler.unscale_(state.optimizer)
    norm = whole(nn.utils.clip_grad_norm_(state.model.parameters(), plan.clip_grad or math.inf))
    if not state.scaler.is_enabled():  # which skips a step whose gradient overflowed, and scales the next ones less
        finite = finite & norm.isfinite()
    return step._replace(finite=finite)


def update(state: TrainState, step: Step, told: Callable[[Step], str]) -> None:
    """Take the step: weights, their average, and what is shown of it; ``TrainingError`` where float16 cannot."""
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if state.averaged:
        state.averaged.update(state.model, state.step)
    for shown in step.shown:
        state.meter.add(shown)
    state.skipped = 0
    if state.scaler.is_enabled() and state.scaler.get_scale() < 1:
        raise TrainingError(
            f"the gradient overflows float16 even unscaled at step {step.number} ({told(step)}); the last "
            "checkpoint is from before. Start again with --run.precision bfloat16 or float32"
        )


def skip(
    state: TrainState,
    plan: Plan,
    step: Step,
    capture: Callable[[Step], str],
    console: Console,
    told: Callable[[Step], str],
) -> None:
    """Leave the weights as they are; ``TrainingError`` if that was done ``plan.max_nonfinite`` times in a row."""
    state.optimizer.zero_grad()
    if state.scaler.is_enabled():  # which else takes the next gradient for this one, unscaled already
        state.scaler.update()
    state.skipped += 1
    found = f"; {capture(step)}" if state.skipped == 1 else ""
    what = f"loss or gradient is not finite at step {step.number} ({told(step)}){found}"
    if state.skipped <= plan.max_nonfinite:
        console.warn(f"{what}; the step is skipped")
        return
    raise TrainingError(
        f"{what}. The last checkpoint is from before. A lower --optim.lr, a longer --optim.warmup_epochs or a smaller "
        "--optim.clip_grad would help, or a look at these samples; --run.max_nonfinite N skips up to N such steps"
    )


def stop_unless_finite(pending: list[Step], group: Group, told: Callable[[Step], str]) -> None:
    """Look at the steps since the last look; nothing was saved in between, so the last checkpoint is a good one."""
    flags = torch.stack([step.finite for step in pending]).tolist()
    bad = group.highest(*(not finite for finite in flags))
    if any(bad):
        step = pending[bad.index(1)]
        raise TrainingError(
            f"loss or gradient is not finite at step {step.number} ({told(step)}); the last checkpoint is "
            "from before. Go on from there with --run.check_every 1 to write down the step when it comes again, and "
            "where it began"
        )
    pending.clear()


def described(plan: Plan, named: Callable[[list[int]], str], step: Step) -> str:
    """A step's learning rate and the images it saw."""
    return f"learning rate {plan.rate(step.number):.3g}, {named(step.rows)}"


def evaluate(
    model: nn.Module,
    task: Task,
    batches: Iterable[Batch],
    plan: Plan,
    *,
    device: torch.device,
    interrupt: Interrupt,
    group: Group,
) -> dict[str, float]:
    """Metrics of ``model`` on the ``batches`` of all processes, as many on each; ``Interrupted`` at a signal."""
    model.eval()
    task.reset()
    with gathered(model), torch.inference_mode():
        for batch in batches:
            if stop := group.highest(interrupt.signal)[0]:
                raise Interrupted(stop)
            if len(batch.rows):  # no image of it could be read; the others wait for this process all the same
                with autocast(plan.precision, device):
                    task.update(model, batch.to(device, plan.channels_last))
    if group.world > 1:
        task.merge(group.gather)
    return task.compute()


def close_epoch(state: TrainState, plan: Plan, val: dict[str, float], task: Task) -> None:
    """Turn the meter into a row of history and remember the best epoch; of equals the later, for its lower rate."""
    epoch = len(state.history) + 1
    totals = summed(state.meter.pack(state.group))
    batches = totals.pop("batches")
    images = batches / state.group.world * plan.batch_size
    row: dict[str, float] = {"epoch": epoch, "step": state.step, "lr": plan.rate(state.step - 1)}
    row |= {f"train_{name}": total / batches for name, total in totals.items()}
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
