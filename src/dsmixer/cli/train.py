"""`dsmixer train`: everything that can be wrong is looked for first, then torch is imported and the run is built."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dsmixer.cli import Parser, complain
from dsmixer.cli.options import flat, help_text, read_recipe, read_yaml, recipes, resolve
from dsmixer.config import Config
from dsmixer.engine.folder import (
    claim,
    empty_folder,
    finished_result,
    give_back,
    new_folder,
    run_folder,
    weights_architecture,
)

if TYPE_CHECKING:
    from dsmixer.engine.console import Console
    from dsmixer.engine.run import Run

# What a resumed run may change: it moves the work, not the result.
FREE = {
    "data.root",
    "data.workers",
    "data.worker_timeout",
    "data.max_bad",
    "run.device",
    "run.save_every_minutes",
    "run.check_every",
}


def main(arguments: list[str]) -> int:
    """Train, or resume; returns the exit code, 1 for a run that could not go on; ``ValueError`` for wrong asking."""
    own = Parser(
        prog="dsmixer train", add_help=False, allow_abbrev=False, usage="dsmixer train --recipe NAME [options]"
    )
    own.add_argument("--recipe", help=f"what to train: {', '.join(recipes())}, or a YAML file")
    own.add_argument("--resume", metavar="DIR", help="go on with the run in this folder")
    own.add_argument("--out", metavar="DIR", help="folder for the run; otherwise runs/NAME-001 and so on")
    own.add_argument("--overwrite", action="store_true", help="replace an earlier run in --out")
    if {"-h", "--help"} & set(arguments):
        print(own.format_help() + "\n" + help_text(), end="")
        return 0
    asked, rest = own.parse_known_args(arguments)
    if asked.resume:
        if asked.recipe or asked.out or asked.overwrite:
            raise ValueError("--resume goes with neither --recipe nor --out nor --overwrite: the folder says all")
        folder = run_folder(asked.resume)
        config = _resumed(folder, rest)
    elif asked.recipe:
        name, content = read_recipe(asked.recipe)
        config = resolve(content, rest)
        if asked.overwrite and not asked.out:
            raise ValueError("--overwrite needs --out DIR; without it a run gets a folder of its own")
        folder = new_folder(asked.out, name, asked.overwrite)
    else:
        raise ValueError(f"say what to train: --recipe {' | '.join(recipes())} | FILE.yaml, or --resume DIR")
    # a run that has a checkpoint does not need what it started from
    begin = not asked.resume or not any((folder / "checkpoints").glob("step-*.json"))
    check_paths(config, begin)
    if asked.resume and (result := finished_result(folder)):
        scores = ", ".join(f"{name} {value:.4f}" for name, value in result["test"].items())
        print(f"{folder} is finished (test: {scores}); see {folder / 'report.md'}")
        return 0
    numbered = not asked.resume and not asked.out
    folder = claim(folder) if numbered else folder
    try:
        return _train(config, folder, bool(asked.resume), begin, shlex.join(["dsmixer", "train", *arguments]))
    finally:
        if numbered:
            give_back(folder)


def check_paths(config: Config, begin: bool) -> None:
    """Raise ``ValueError`` for data, and weights to ``begin`` with, that are not there; make the paths absolute."""
    if config.data.root is not None:
        from dsmixer.data.splits import check_root

        check_root(config.data.name, config.data.root)
        config.data.root = str(Path(config.data.root).resolve())
    if config.model.weights is not None and begin:
        path = Path(config.model.weights)
        if not path.is_file() or path.suffix != ".safetensors":
            raise ValueError(f"model.weights is {path}, expected a .safetensors file such as a run's model.safetensors")
        theirs = weights_architecture(path)
        if theirs not in (None, config.model.name):
            raise ValueError(f"{path} holds weights of {theirs}, but model.name is {config.model.name}")
        config.model.weights = str(path.resolve())


def _resumed(folder: Path, overrides: list[str]) -> Config:
    path = folder / "config.yaml"
    content = read_yaml(path.read_text(), str(path))
    before, after = flat(resolve(content, [])), flat(config := resolve(content, overrides))
    changed = sorted(key for key in after if after[key] != before[key] and key not in FREE)
    if changed:
        raise ValueError(f"a resumed run may not change {', '.join(changed)}; it may change {', '.join(sorted(FREE))}")
    return config


def _train(config: Config, folder: Path, resume: bool, begin: bool, command: str) -> int:
    """Build the run and execute it; the slow imports happen here."""
    from dsmixer.data.loader import DataError
    from dsmixer.engine.checkpoint import CheckpointError, write_atomically
    from dsmixer.engine.console import Console
    from dsmixer.engine.loop import TrainingError

    console = Console()
    try:
        run = build(config, folder, command, console, begin)
        if not resume:
            empty_folder(folder)
            write_atomically(folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False).encode())
            console.say(f"run folder: {folder}")
    except (ValueError, OSError) as error:
        return complain(str(error))
    except CheckpointError as error:
        return complain(str(error), code=1)
    try:
        return run.execute(resume, console)
    except (TrainingError, CheckpointError, DataError) as error:
        return complain(str(error), code=1)


def build(config: Config, folder: Path, command: str, console: "Console", begin: bool) -> "Run":
    """Every part of a run from the configuration's values; ``ValueError`` where they do not fit each other."""
    from dsmixer.data.bad import BadFiles
    from dsmixer.data.describe import describe
    from dsmixer.data.loader import Images
    from dsmixer.data.splits import open_splits
    from dsmixer.data.transforms import eval_transform, train_transform
    from dsmixer.engine.hardware import pick_device, pick_precision, set_up
    from dsmixer.engine.loop import Plan
    from dsmixer.engine.model import build_model, load_weights
    from dsmixer.engine.optimizer import AveragedWeights, make_optimizer
    from dsmixer.engine.run import Run
    from dsmixer.engine.state import TrainState
    from dsmixer.tasks.classification import Classification

    data, optim, run = config.data, config.optim, config.run
    set_up(run.threads, run.deterministic)
    device = pick_device(run.device)
    splits = open_splits(data.name, data.root, data.val_fraction, data.allow_outside)
    for line in describe(splits):
        console.say(line)
    steps_per_epoch = len(splits.train.rows) // (data.batch_size * optim.accumulate)
    if not steps_per_epoch:
        raise ValueError(
            f"data.batch_size {data.batch_size} times optim.accumulate {optim.accumulate} is more than the "
            f"{len(splits.train.rows)} training images"
        )
    model = build_model(
        config.model.name,
        config.model.kwargs,
        num_classes=len(splits.classes),
        in_chans=data.in_chans,
        drop_path_rate=config.model.drop_path_rate,
        image_size=data.image_size,
        seed=run.seed,
    )
    if config.model.weights and begin:
        console.say(load_weights(model, config.model.name, Path(config.model.weights)))
    model.to(device)
    averaged = AveragedWeights(model, optim.ema_decay) if optim.ema_decay else None
    if run.compile:
        model.compile()
    mode = "L" if data.in_chans == 1 else "RGB"
    plain = eval_transform(data.image_size, data.mean, data.std)
    augment = train_transform(
        data.image_size,
        data.mean,
        data.std,
        hflip=data.hflip,
        crop_padding=data.crop_padding,
        crop_scale=data.crop_scale,
        rotate=data.rotate,
        translate=data.translate,
        scale=data.scale,
        rand_augment=data.rand_augment,
        erase=data.erase,
    )
    preprocessing = {"in_chans": data.in_chans, "image_size": data.image_size, "mean": data.mean, "std": data.std}
    source = splits.test.source
    task = Classification(
        splits.classes,
        label_smoothing=optim.label_smoothing,
        mixup=data.mixup,
        cutmix=data.cutmix,
        picture=lambda row: source.image(row, mode),
        preprocessing=preprocessing,
        choose_within=optim.choose_within,
    )
    plan = Plan(
        seed=run.seed,
        epochs=optim.epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=data.batch_size,
        accumulate=optim.accumulate,
        lr=optim.lr,
        min_lr=optim.min_lr,
        warmup_steps=round(optim.warmup_epochs * steps_per_epoch),
        clip_grad=optim.clip_grad,
        precision=pick_precision(run.precision, device),
        check_every=run.check_every,
        save_every_seconds=60 * run.save_every_minutes,
    )
    images = sum(len(part.rows) for part in splits[:3])
    fixed = {name: value for name, value in flat(config).items() if name not in FREE}
    optimizer = make_optimizer(model, optim.name, optim.lr, optim.weight_decay, optim.layer_decay)
    return Run(
        folder=folder,
        plan=plan,
        state=TrainState(model, optimizer, averaged),
        task=task,
        train=Images(splits.train, mode, augment, run.seed, replace=True),
        val=Images(splits.val, mode, plain, run.seed),
        test=Images(splits.test, mode, plain, run.seed),
        bad=BadFiles(folder / "bad_files.csv", data.max_bad, images, console.warn),
        workers=data.workers,
        worker_timeout=data.worker_timeout,
        device=device,
        about={"architecture": config.model.name, "model_kwargs": config.model.kwargs, **task.metadata()},
        facts={**fixed, "classes": splits.classes, "training images": len(splits.train.rows)},
        data="digits" if data.name == "digits" else Path(str(data.root)).resolve().name,
        command=command,
    )
