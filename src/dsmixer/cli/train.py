"""`dsmixer train`: everything that can be wrong is looked for first, then torch is imported and the run is built."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dsmixer.cli import Parser, complain
from dsmixer.cli.options import flat, help_text, read_yaml, recipes, resolve
from dsmixer.cli.parts import of_task, plan_of
from dsmixer.cli.starting import FREE, Start, find_weights, starting
from dsmixer.config import READS, Config, DataConfig
from dsmixer.engine.distributed import Group, launched
from dsmixer.engine.folder import (
    claim,
    empty_folder,
    finished_result,
    give_back,
    told,
)

if TYPE_CHECKING:
    import torch

    from dsmixer.engine.console import Console
    from dsmixer.engine.run import Run


def main(arguments: list[str]) -> int:
    """Train, or resume; returns the exit code, 1 for a run that could not go on; ``ValueError`` for wrong asking."""
    own = Parser(
        prog="dsmixer train", add_help=False, allow_abbrev=False, usage="dsmixer train --recipe NAME [options]"
    )
    own.add_argument("--recipe", help=f"what to train: {', '.join(recipes())}, or a YAML file")
    own.add_argument("--resume", metavar="DIR", help="go on with the run in this folder")
    own.add_argument("--out", metavar="DIR", help="folder for the run; otherwise runs/NAME-001 and so on")
    own.add_argument("--overwrite", action="store_true", help="replace an earlier run in --out")
    own.add_argument("--replay", metavar="DIR", help="do a step again that was not finite: a run's folder nan-STEP")
    if {"-h", "--help"} & set(arguments):
        print(own.format_help() + "\n" + help_text(), end="")
        return 0
    asked, rest = own.parse_known_args(arguments)
    command = shlex.join(["dsmixer", "train", *arguments])
    if asked.replay:
        return _replay(Path(asked.replay), rest, command)
    config, start = starting(asked, rest)
    check_paths(config, start.begin)
    if (start.resume or launched()) and (result := finished_result(start.folder)):
        if Group.from_environment().is_main:
            print(f"{start.folder} is finished (test: {told(result['test'])}); see {start.folder / 'report.md'}")
        return 0
    folder = claim(start.folder) if start.numbered else start.folder
    try:
        return _train(config, Start(folder, start.resume), command)
    finally:
        if start.numbered:
            give_back(folder)


def check_paths(config: Config, begin: bool) -> None:
    """Raise ``ValueError`` for data, and weights to ``begin`` with, that are not there; make the paths absolute."""
    if config.data.root is not None:
        from dsmixer.data.splits import check_root

        check_root(READS.get(str(config.model.head), config.data.name), config.data.root)
        config.data.root = str(Path(config.data.root).resolve())
    if begin:
        find_weights(config.model)


def _replay(captured: Path, overrides: list[str], command: str) -> int:
    """Do a captured step again, with the run's configuration or a changed one."""
    path = captured.parent / "config.yaml"
    if not (captured / "weights.safetensors").is_file() or not path.is_file():
        raise ValueError(f"--replay {captured} is not a folder nan-STEP of a run")
    config = resolve(read_yaml(path.read_text(), str(path)), overrides)
    check_paths(config, begin=False)
    return _with_run(config, captured.parent, False, command, lambda run, console: run.replay(captured, console))


def _train(config: Config, start: Start, command: str) -> int:
    """Execute the run, in all processes alike."""

    def execute(run: "Run", console: "Console") -> int:
        from dsmixer.engine.checkpoint import write_atomically

        resume = bool(run.group.from_main(start.resume))
        if not resume and run.group.is_main:
            empty_folder(run.folder)
            write_atomically(run.folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
            console.say(f"run folder: {run.folder}")
        return run.execute(resume, console)

    return _with_run(config, start.folder, start.begin, command, execute)


def _with_run(config: Config, folder: Path, begin: bool, command: str, work: Callable[["Run", "Console"], int]) -> int:
    """Build the run and do something with it; the slow imports happen here."""
    from torch import OutOfMemoryError

    from dsmixer.data.loader import DataError, end_workers, told_before
    from dsmixer.engine.checkpoint import CheckpointError
    from dsmixer.engine.console import Console
    from dsmixer.engine.distributed import joined, lost_process
    from dsmixer.engine.hardware import own_device
    from dsmixer.engine.loop import TrainingError

    group = Group.from_environment()
    console = Console(quiet=not group.is_main)
    try:
        device = own_device(config.run.device, group.local_rank)
        with joined(group, device, config.run.process_timeout):
            begin = bool(group.from_main(begin))
            try:
                run = build(config, folder, command, console, begin, group, device)
            except OSError as error:
                return complain(str(error))
            return work(run, console)
    except (TrainingError, CheckpointError, DataError) as error:
        end_workers()
        return complain(str(error), code=1)
    except OSError:
        end_workers()
        raise
    except OutOfMemoryError as error:
        end_workers()
        reason = str(error).partition(". ")[0]
        less = "a smaller --data.batch_size with a larger --optim.accumulate, or --run.precision bfloat16, needs less"
        return complain(f"{reason}; {less}", code=1)
    except RuntimeError as error:
        end_workers()
        if told := told_before(error):
            return complain(str(told), code=1)
        if group.world == 1 or not (reason := lost_process(error)):
            raise
        return complain(reason, code=1)


def build(
    config: Config,
    folder: Path,
    command: str,
    console: "Console",
    begin: bool,
    group: Group,
    device: "torch.device",
) -> "Run":
    """Every part of a run from the configuration's values; ``ValueError`` where they do not fit each other."""
    import torch
    from torch.amp import GradScaler

    from dsmixer.data.bad import BadFiles
    from dsmixer.engine.hardware import set_up
    from dsmixer.engine.optimizer import AveragedWeights, make_optimizer
    from dsmixer.engine.parallel import pick_strategy, replicate, shard
    from dsmixer.engine.run import Run
    from dsmixer.engine.state import TrainState

    data, optim, run = config.data, config.optim, config.run
    set_up(run.threads, run.deterministic)
    check_shares(data, group)
    parts = of_task(config, begin, group, console.say)
    plan = plan_of(config, len(parts.train), device)
    model = parts.model.to(device)
    if run.channels_last:
        model.to(memory_format=torch.channels_last)
    averaged = AveragedWeights(model, optim.ema_decay) if optim.ema_decay else None
    strategy = pick_strategy(run.strategy, group)
    if strategy == "fully_shard":
        for part in [model, averaged.model] if averaged else [model]:
            shard(part, group, device)
    if run.compile:
        model.compile()
    fixed = {name: value for name, value in flat(config).items() if name not in FREE}
    rate = plan.schedule.peak
    optimizer = make_optimizer(
        model,
        optim.name,
        rate,
        optim.weight_decay,
        optim.layer_decay,
        optim.no_decay,
        by_stage=optim.layer_decay_by == "stage",
    )
    return Run(
        folder=folder,
        plan=plan,
        state=TrainState(
            model,
            optimizer,
            averaged,
            trained=replicate(model, device) if strategy == "ddp" else model,
            scaler=GradScaler(device.type, enabled=plan.precision == "float16"),
            group=group,
        ),
        task=parts.task,
        train=parts.train,
        val=parts.val,
        test=parts.test,
        order=parts.order,
        bad=BadFiles(folder / "bad_files.csv", data.max_bad, parts.images, console.warn),
        bad_before=parts.bad,
        workers=data.workers,
        worker_timeout=data.worker_timeout,
        device=device,
        about=parts.about,
        facts={**fixed, "classes": parts.classes, "training images": len(parts.train)},
        data="digits" if data.name == "digits" else Path(str(data.root)).resolve().name,
        command=command,
        group=group,
        strategy=strategy,
    )


def check_shares(data: DataConfig, group: Group) -> None:
    """Raise ``ValueError`` for a batch that the processes cannot share equally, both images of a pair together."""
    parts = group.world * (2 if (data.mixup or data.cutmix) and group.world > 1 else 1)
    if data.batch_size % parts:
        pairs = " in pairs, for data.mixup or data.cutmix is on" if parts > group.world else ""
        raise ValueError(
            f"data.batch_size is {data.batch_size}, but {group.world} processes share it{pairs}; "
            f"give a multiple of {parts}"
        )
