"""A digits run shrunk to seconds, and the ways to start it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dsmixer.cli import main

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


def sha(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def train(*arguments: str) -> int:
    return main(["train", *arguments])


def start(*arguments: str) -> subprocess.Popen:
    """A real process, warnings as errors as in the tests."""
    command = [sys.executable, "-W", "error", "-m", "dsmixer.cli", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def stop_after_step(process: subprocess.Popen, folder: Path, step: int, number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal to the process and its workers once a checkpoint of ``step`` or later is there."""
    pointer, deadline = folder / "checkpoints" / "latest.json", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if pointer.exists() and int(json.loads(pointer.read_bytes())["latest"].removeprefix("step-")) >= step:
            os.killpg(process.pid, number)
            break
        time.sleep(0.01)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err
