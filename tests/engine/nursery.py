"""Real processes that begin with everything imported: a test can afford several, and kills them when it chooses."""

import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch.distributed import TCPStore

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torchmetrics.classification", "sklearn.datasets", "torch.utils.tensorboard", "torch.distributed.fsdp",
     "dsmixer.engine.run", "dsmixer.engine.report", "dsmixer.tasks.classification", "dsmixer.cli.train",
     "timm.data.mixup", "timm.optim"]
)  # fmt: skip


class Moment(NamedTuple):
    """The ``count``-th call of something: "loss" a batch, "update" a batch of validation, "replace" a file renamed.

    "spoil" sends no signal: it makes an image of the ``count``-th batch that is read huge.
    """

    what: str
    count: int
    signal: int = signal.SIGKILL


class Child:
    """`dsmixer train ARGUMENTS` in a process and a session of its own."""

    def __init__(
        self,
        *arguments: str,
        log: Path,
        moment: Moment | None = None,
        store: TCPStore | None = None,
        **environment: str,
    ) -> None:
        self.log = log
        self.store = store  # where processes meet: it ends with the last of them
        self.process = CONTEXT.Process(target=_work, args=(arguments, log, moment, environment))
        self.process.start()
        self.pid = self.process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; none while it runs."""
        return self.process.exitcode

    def end(self, timeout: float = 120) -> tuple[int, str, str]:
        """Wait; exit code, standard output, standard error."""
        self.process.join(timeout)
        code = self.process.exitcode
        if code is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise TimeoutError(f"no end after {timeout} s: {self.log.read_text()}")
        return code, self.log.read_text(), self.log.with_suffix(".err").read_text()


def _work(arguments: tuple[str, ...], log: Path, moment: Moment | None, environment: dict[str, str]) -> None:
    os.setsid()
    for number, path in ((1, log), (2, log.with_suffix(".err"))):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(environment)
    multiprocessing.set_start_method("fork", force=True)  # for the workers, as in a process that a shell starts
    warnings.simplefilter("error")
    from dsmixer.cli import main

    watch_losses(log.with_suffix(".losses"))
    if moment:
        strike(moment)
    sys.exit(main(["train", *arguments]))


def watch_losses(path: Path) -> Callable[[], None]:
    """Append every training batch's rows and loss, to the last bit, to ``path``; returns what ends that."""
    from dsmixer.tasks.classification import Classification

    loss = Classification.loss

    def watched(self, model, batch):
        value, shown = loss(self, model, batch)
        with path.open("a") as file:
            file.write(f"{batch.rows.tolist()} {float(value.detach()).hex()}\n")
        return value, shown

    Classification.loss = watched
    return lambda: setattr(Classification, "loss", loss)


def strike(moment: Moment) -> None:
    """Send this process a signal when ``moment`` has come."""
    if moment.what == "spoil":
        return spoil(moment.count)
    from dsmixer.engine import checkpoint
    from dsmixer.tasks.classification import Classification

    owner = {"loss": Classification, "update": Classification, "replace": checkpoint.os}[moment.what]
    original, calls = getattr(owner, moment.what), []

    def struck(*arguments):
        calls.append(1)
        if len(calls) == moment.count:
            os.kill(os.getpid(), moment.signal)
        return original(*arguments)

    setattr(owner, moment.what, struck)


def spoil(*numbers: int) -> None:
    """One image of the batches with these numbers, counted from 1 as they are read, becomes huge."""
    from dsmixer.data.loader import Images

    read, calls = Images.__getitems__, []

    def spoiled(self, keys):
        batch = read(self, keys)
        calls.append(1)
        if len(calls) in numbers:
            batch.images[3] = 3e38
        return batch

    Images.__getitems__ = spoiled


def together(world: int, *arguments: str, logs: Path, moments: dict[int, Moment] | None = None) -> list[Child]:
    """The same training in ``world`` processes, as torchrun would start them: they meet in a store of this one."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(world)}
    stamp = time.monotonic_ns()
    return [
        Child(
            *arguments, log=logs / f"{stamp}-{rank}.out", moment=(moments or {}).get(rank), store=store,
            RANK=str(rank), LOCAL_RANK=str(rank), TORCHELASTIC_RUN_ID="test", TORCHELASTIC_USE_AGENT_STORE="True",
            **shared,
        )
        for rank in range(world)
    ]  # fmt: skip
