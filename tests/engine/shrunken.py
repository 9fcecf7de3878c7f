"""A digits run shrunk to seconds, and the ways to start it."""

import hashlib
import os
import signal
import time
from pathlib import Path

from dsmixer.cli import main

from .nursery import Child

# two kinds of per-step randomness, one of which ends, repeated images, averaged weights and accumulation: all that a
# resume could get wrong
SHRUNK = [
    "--recipe=digits",
    "--model.kwargs={stem_stride: 2, depths: [1, 1], dims: [8, 16]}",
    "--model.drop_path_rate=0.2",
    "--data.mixup=0.2",
    "--data.mix_epochs=1",
    "--data.repeats=2",
    "--data.batch_size=32",
    "--optim.accumulate=2",
    "--optim.ema_decay=0.9",
    "--optim.epochs=2",
    "--optim.warmup_epochs=1",
    "--data.workers=0",
]
EAGER = "--run.save_every_minutes=0.0001"  # a checkpoint after every step


def sha(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def train(*arguments: str) -> int:
    return main(["train", *arguments])


def newest(folder: Path) -> int:
    """The step of the last checkpoint, 0 without one."""
    names = (path.stem for path in (folder / "checkpoints").glob("step-*.json"))
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def reached(child: Child, folder: Path, step: int) -> None:
    """Wait for a checkpoint of ``step`` or later."""
    deadline = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        if newest(folder) >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"no step {step}: {child.end()}")


def stop_after_step(child: Child, folder: Path, step: int, number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal to the process and its workers once a checkpoint of ``step`` or later is there."""
    reached(child, folder, step)
    os.killpg(child.pid, number)
    return child.end()
