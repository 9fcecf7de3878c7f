"""A run from its folder's first file to its last: set up or resume, train, judge once, deliver."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsmixer.data.bad import Bad, BadFiles
from dsmixer.data.loader import CountedBatches, Feed, Images, in_order, is_worker_death
from dsmixer.engine.checkpoint import CheckpointError, Checkpoints, write_atomically
from dsmixer.engine.console import Console
from dsmixer.engine.distributed import Group
from dsmixer.engine.folder import told
from dsmixer.engine.hardware import describe
from dsmixer.engine.interrupt import Interrupt
from dsmixer.engine.logs import TensorBoard, write_metrics
from dsmixer.engine.loop import Interrupted, Plan, Step, evaluate, fit
from dsmixer.engine.model import save_weights
from dsmixer.engine.nonfinite import capture, captured, diagnose, is_finite, sentence
from dsmixer.engine.parallel import collected, load_whole
from dsmixer.engine.state import TrainState, judged_weights
from dsmixer.tasks.base import Task


@dataclass
class Run:
    """All that a run needs, built by the command line."""

    folder: Path
    plan: Plan
    state: TrainState
    task: Task
    train: Images
    val: Images
    test: Images
    order: Callable[[int], np.ndarray] | None  # of an epoch's positions; None for any
    bad: BadFiles
    bad_before: tuple[Bad, ...]  # found while the data was opened
    workers: int
    worker_timeout: float
    device: torch.device
    about: dict[str, Any]  # model and preprocessing, for the weights' metadata
    facts: dict[str, Any]  # what may not change between sessions, for the checkpoints
    data: str  # name of the data, for the report
    command: str  # what a person types to get this run
    group: Group  # the processes that share it; the main one writes
    strategy: str  # how they do: "none", "ddp" or "fully_shard"

    def execute(self, resume: bool, console: Console) -> int:
        """Run to the end; returns the exit code: 0, or 128 plus the signal that stopped it."""
        checkpoints = Checkpoints(self.folder / "checkpoints", console.warn)
        self.group.wait()  # nobody writes while another still clears away what a kill left
        hardware = describe(self.device, self.plan.precision)
        hardware |= {"processes": self.group.world, "strategy": self.strategy}
        if resume:
            self._resume(checkpoints, hardware, console)
        if self.group.is_main:
            self.bad.add(self.bad_before)
        checkpoints.check_room(self.state.size())
        board = TensorBoard(self.folder / "tensorboard", self.state.step, console) if self.group.is_main else None
        logged = len(self.state.history)

        def save() -> None:
            nonlocal logged
            tensors, facts = self.state.pack()
            if board:
                write_metrics(self.folder / "metrics.csv", self.state.history)
                for row in self.state.history[logged:]:
                    board.add(row)
                logged = len(self.state.history)
                best = int(self.state.best["step"]) if self.state.best else None
                checkpoints.save(self.state.step, tensors, {**facts, "fixed": self.facts, "hardware": hardware}, best)
            self.group.wait()

        feed = self._train_feed()
        with Interrupt() as interrupt:
            try:
                with console.start(self.plan.steps, self.state.step):
                    fit(
                        state=self.state,
                        task=self.task,
                        plan=self.plan,
                        batches=iter(feed),
                        val=self._feed(self.val),
                        save=save,
                        capture=self._capture,
                        named=self.train.named,
                        console=console,
                        interrupt=interrupt,
                        device=self.device,
                    )
                self._deliver(checkpoints, hardware, console, interrupt)
            except Interrupted as stop:
                console.say(f"stopped after step {self.state.step}; go on with: dsmixer train --resume {self.folder}")
                return 128 + stop.args[0]
            except RuntimeError as error:
                if not is_worker_death(error):
                    raise
                raise feed.failure(error) from error
            finally:
                if board:
                    board.close()
        return 0

    def replay(self, folder: Path, console: Console) -> int:
        """Do a captured step again, from its weights and inputs; returns 1 if it still is not finite, else 0."""
        weights, batches, facts = captured(folder, self.group)
        load_whole(self.state.model, weights)
        findings = diagnose(self.state.model, self.task, batches, self.plan, facts["step"], facts["rank"])
        console.say(f"step {facts['step']}: loss {', '.join(findings['losses'])}; {sentence(findings)}")
        return int(self.group.highest(not is_finite(findings))[0])

    def _capture(self, step: Step) -> str:
        folder = self.folder / f"nan-{step.number:08d}"
        findings = diagnose(self.state.model, self.task, step.batches, self.plan, step.number, self.group.rank)
        facts = {"step": step.number, "learning_rate": self.plan.rate(step.number), "rows": step.rows}
        facts["images"] = [self.train.split.source.name(row) for row in step.rows]
        capture(folder, self.state.model, step.batches, facts, findings, self.group)
        rank, world = self.group.rank, self.group.world
        first = world - self.group.highest(0 if is_finite(findings) else world - rank)[0]  # whose inputs are to blame
        found = sentence(findings) if first in (rank, world) else f"process {first} found where, see step-{first}.json"
        return f"{found} (dsmixer train --replay {folder})"

    def _resume(self, checkpoints: Checkpoints, hardware: dict[str, Any], console: Console) -> None:
        self.bad.recall()
        if not self.group.from_main(len(checkpoints.steps())):
            console.say("no checkpoint yet; beginning at step 0")
            return
        newest = checkpoints.load_newest() if self.group.is_main else None  # the main process says which is intact
        step = self.group.from_main(newest[1]["step"] if newest else 0)
        tensors, facts = newest or checkpoints.load(step)
        try:
            self._unpack(tensors, facts, hardware, console)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, CheckpointError):
                raise
            reason = f"{type(error).__name__}: {error}"
            raise CheckpointError(f"the checkpoint of {self.folder} does not fit this version ({reason})") from error
        if self.group.is_main:
            write_metrics(self.folder / "metrics.csv", self.state.history)
        console.say(f"resuming {self.folder} at step {self.state.step} of {self.plan.steps}")

    def _unpack(
        self, tensors: dict[str, Tensor], facts: dict[str, Any], hardware: dict[str, Any], console: Console
    ) -> None:
        for name, value in self.facts.items():
            if facts["fixed"].get(name) != value:
                before = facts["fixed"].get(name)
                raise CheckpointError(
                    f"{name} was {before} in the checkpoints of {self.folder} and is now {value}; start anew"
                )
        for name, value in hardware.items():
            before = facts["hardware"].get(name)
            if before != value:
                console.warn(f"{name} was {before} and is now {value}: the result may differ in its last bits")
        self.state.unpack(tensors, facts)

    def _train_feed(self) -> Feed:
        plan = self.plan
        batches = CountedBatches(
            len(self.train),
            plan.batch_size,
            batches_per_epoch=plan.steps_per_epoch * plan.accumulate,
            epochs=plan.epochs,
            seed=plan.seed,
            start=self.state.step * plan.accumulate,
            repeats=plan.repeats,
            rank=self.group.rank,
            world=self.group.world,
            order=self.order,
        )
        return Feed(self.train, batches, self.workers, self.worker_timeout, self.bad, pin=self.device.type == "cuda")

    def _feed(self, images: Images) -> Feed:
        plan = in_order(len(images), self.plan.batch_size, self.group.rank, self.group.world)
        return Feed(images, plan, self.workers, self.worker_timeout, self.bad, pin=self.device.type == "cuda")

    def _best(self, checkpoints: Checkpoints, console: Console) -> tuple[dict[str, Tensor], int]:
        """The best weights and their epoch; none, and the last epoch, where they cannot be had."""
        reason = "no epoch has a score that is a number"
        if best := self.state.best:
            try:
                return judged_weights(checkpoints.load(int(best["step"]))[0]), int(best["epoch"])
            except CheckpointError as error:
                reason = str(error)
        console.warn(f"{reason}; delivering the last weights instead of the best")
        return {}, len(self.state.history)

    def _deliver(
        self, checkpoints: Checkpoints, hardware: dict[str, Any], console: Console, interrupt: Interrupt
    ) -> None:
        """Judge the best weights on the test images, once, and write what the run leaves; result.json last."""
        from dsmixer.engine.report import draw_curves, write_report

        state = self.state
        weights, epoch = self._best(checkpoints, console)
        # if one process cannot read them, none takes them
        if self.group.every(bool(weights)):
            load_whole(state.judged, weights)
        else:
            weights = collected(state.judged.state_dict(), self.group)
        scores = evaluate(
            state.judged,
            self.task,
            self._feed(self.test),
            self.plan,
            device=self.device,
            interrupt=interrupt,
            group=self.group,
        )
        if not self.group.is_main:
            return
        self.bad.recall()
        save_weights(self.folder / "model.safetensors", weights, self.about)
        seconds = sum(row["seconds"] for row in state.history)
        images = self.plan.steps * self.plan.accumulate * self.plan.batch_size
        result = {
            "test": {name: value if math.isfinite(value) else None for name, value in scores.items()},
            "best_epoch": epoch,
            "epochs": self.plan.epochs,
            "seed": self.plan.seed,
            "train_images": len(self.train),
            "val_images": len(self.val),
            "test_images": len(self.test),
            "bad_files": len(self.bad),
            "train_seconds": round(seconds, 1),
            "images_per_second": round(images / max(seconds, 1e-9), 1),
            "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
            "data": self.data,
            "command": self.command,
            "hardware": hardware,
        }
        draw_curves(state.history, result["best_epoch"], self.folder / "curves.png")
        write_report(self.folder, result, self.about, self.task.report(self.folder))
        write_atomically(self.folder / "result.json", json.dumps(result, indent=2) + "\n")
        console.say(f"test: {told(result['test'])} (epoch {result['best_epoch']}); see {self.folder / 'report.md'}")
