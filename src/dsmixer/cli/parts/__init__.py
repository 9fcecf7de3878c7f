"""The parts of a run that are made from many values of the configuration."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from dsmixer.config import FIND_OBJECTS, LABEL_PIXELS, Config

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from dsmixer.data.bad import Bad
    from dsmixer.engine.distributed import Group
    from dsmixer.engine.loop import Plan
    from dsmixer.tasks.base import Task


class Parts(NamedTuple):
    """What a run has of its task: all that differs between classes, pixels and objects."""

    model: "nn.Module"
    task: "Task"
    train: Any  # data sets, asked for by (epoch, position)
    val: Any
    test: Any
    classes: list[str]
    images: int  # of all splits, for the budget of bad ones
    bad: "tuple[Bad, ...]"  # found before training
    order: "Callable[[int], np.ndarray] | None"  # of an epoch; None for any
    about: dict[str, Any]  # for the weights' metadata


def of_task(config: Config, begin: bool, group: "Group", say: Callable[[str], None]) -> Parts:
    """The parts for ``model.head``; ``begin`` says whether weights to start from are wanted."""
    if config.model.head in LABEL_PIXELS:
        from dsmixer.cli.parts.segmentation import parts
    elif config.model.head in FIND_OBJECTS:
        from dsmixer.cli.parts.detection import parts
    else:
        from dsmixer.cli.parts.classification import parts
    return parts(config, begin, group, say)


def plan_of(config: Config, images: int, device: "torch.device") -> "Plan":
    """How long, how fast, how careful; ``ValueError`` where an epoch has no step."""
    from dsmixer.engine.hardware import pick_precision
    from dsmixer.engine.loop import Plan
    from dsmixer.engine.schedule import Schedule, for_batch

    data, optim, run = config.data, config.optim, config.run
    batch = data.batch_size * optim.accumulate
    steps = images // batch
    if not steps:
        raise ValueError(
            f"data.batch_size {data.batch_size} times optim.accumulate {optim.accumulate} is more than the "
            f"{images} training images: {_fitting(images, optim.accumulate, bool(data.mixup or data.cutmix))}"
        )
    return Plan(
        seed=run.seed,
        epochs=optim.epochs,
        steps_per_epoch=steps,
        batch_size=data.batch_size,
        accumulate=optim.accumulate,
        repeats=data.repeats,
        schedule=Schedule(
            optim.schedule,
            for_batch(optim.lr, optim.lr_batch, batch),
            for_batch(optim.min_lr, optim.lr_batch, batch),
            warmup=round(optim.warmup_epochs * steps),
            total=optim.epochs * steps,
            power=optim.power,
            drops=tuple(steps * epoch for epoch in optim.drop_epochs),
        ),
        clip_grad=optim.clip_grad,
        precision=pick_precision(run.precision, device),
        # reading a loss waits for a GPU, but costs a CPU nothing: there, every step is looked at
        check_every=1 if device.type == "cpu" or run.max_nonfinite else run.check_every,
        save_every_seconds=60 * run.save_every_minutes,
        max_nonfinite=run.max_nonfinite,
        channels_last=run.channels_last,
    )


def _fitting(images: int, accumulate: int, pairs: bool) -> str:
    """The largest batch of which an epoch has one."""
    largest, rest = images // accumulate, ""
    if largest < 1 + pairs:
        largest, rest = images, " with --optim.accumulate 1"
    return f"give --data.batch_size {largest - largest % 2 * pairs} or less{rest}"
