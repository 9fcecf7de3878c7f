"""Where a run starts: in a new folder, on what an earlier session left, or, under torchrun, on whichever is there."""

from argparse import Namespace
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsmixer.cli.options import flat, read_recipe, read_yaml, recipes, resolve
from dsmixer.config import Config, ModelConfig
from dsmixer.engine.distributed import Group, launched
from dsmixer.engine.folder import new_folder, run_folder, weights_architecture
from dsmixer.weights import About, find, packaged, read_about, variant_and_tag

# What a resumed run may change: it moves the work, not the result.
FREE = {
    "data.root",
    "data.workers",
    "data.worker_timeout",
    "data.max_bad",
    "data.cache",
    "run.device",
    "run.strategy",
    "run.process_timeout",
    "run.save_every_minutes",
    "run.check_every",
    "run.max_nonfinite",
}


@dataclass(frozen=True)
class Start:
    """How a run starts: in a folder, anew or on what is there."""

    folder: Path
    resume: bool
    numbered: bool = False  # the folder is the next of runs/NAME-001 and so on

    @property
    def begin(self) -> bool:
        """Whether there is no checkpoint: a run that has one does not need what it started from."""
        return not self.resume or not any((self.folder / "checkpoints").glob("step-*.json"))


def starting(asked: Namespace, rest: list[str]) -> tuple[Config, Start]:
    """What to train, and where."""
    if asked.resume:
        if asked.recipe or asked.out or asked.overwrite:
            raise ValueError("--resume goes with neither --recipe nor --out nor --overwrite: the folder says all")
        folder = run_folder(asked.resume)
        return _resumed(folder, rest), Start(folder, resume=True)
    if not asked.recipe:
        meant = f"did you mean --recipe {rest[0]}? " if rest and rest[0] in recipes() else ""
        raise ValueError(f"{meant}say what to train: --recipe {' | '.join(recipes())} | FILE.yaml, or --resume DIR")
    name, content = read_recipe(asked.recipe)
    config = resolve(content, rest)
    if asked.overwrite and not asked.out:
        raise ValueError("--overwrite needs --out DIR; without it a run gets a folder of its own")
    if launched():
        return _launched(config, asked)
    return config, Start(new_folder(asked.out, name, asked.overwrite), resume=False, numbered=not asked.out)


def find_weights(model: ModelConfig) -> None:
    """Make ``weights`` an absolute path, and take name and kwargs from there if the name is null; ``ValueError``.

    A packaged name becomes the architecture and kwargs that it stands for, and timm's weights for it the file: what the
    run leaves does not depend on what is packaged.
    """
    if path := packaged().get(str(model.name)):
        _take_network(model, read_about(path))
        model.weights = str(path) if model.weights == "timm" else model.weights
    if model.weights in (None, "timm"):
        return
    try:
        path = find(model.weights)
        if model.name is None:
            _take_network(model, read_about(path))
        theirs = weights_architecture(path)
    except ValueError as error:
        raise ValueError(f"model.weights: {error}") from error
    if theirs and variant_and_tag(theirs)[0] != variant_and_tag(str(model.name))[0]:
        raise ValueError(f"{path} holds weights of {theirs}, but model.name is {model.name}")
    model.weights = str(path.resolve())


def _take_network(model: ModelConfig, about: About) -> None:
    model.name, model.kwargs = about.architecture, {**about.model_kwargs, **model.kwargs}


def _launched(config: Config, asked: Namespace) -> tuple[Config, Start]:
    """Under torchrun, which may start the same command again: begin the run in --out, or go on with it."""
    if not asked.out:
        raise ValueError("torchrun starts several processes, and may do so again: name their folder with --out DIR")
    if asked.overwrite:
        raise ValueError(
            "--overwrite under torchrun would erase what a restart goes on with; remove the folder instead"
        )
    folder = Path(asked.out)
    if not Group.from_environment().is_main:
        return config, Start(folder, resume=False)  # the main process looks, and tells
    if not (folder / "config.yaml").is_file():
        return config, Start(new_folder(asked.out, "", False), resume=False)
    with suppress(ValueError):  # weights that are gone are not missed, unless the name is to come from them
        find_weights(config.model)
    before, after = flat(_resumed(folder, [])), flat(config)
    for key in ("model.weights", "data.root"):  # kept absolute in the folder
        after[key] = str(Path(after[key]).resolve()) if after[key] not in (None, "timm") else after[key]
    if changed := [f"{key} ({before[key]}, not {after[key]})" for key in sorted(_changed(before, after))]:
        raise ValueError(f"--out {folder} holds another run, with {', '.join(changed)}; choose another folder")
    return config, Start(folder, resume=True)


def _resumed(folder: Path, overrides: list[str]) -> Config:
    path = folder / "config.yaml"
    content = read_yaml(path.read_text(), str(path))
    before, after = flat(resolve(content, [])), flat(config := resolve(content, overrides))
    if changed := sorted(_changed(before, after)):
        raise ValueError(f"a resumed run may not change {', '.join(changed)}; it may change {', '.join(sorted(FREE))}")
    return config


def _changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {key for key in after if after[key] != before[key] and key not in FREE}
