"""The run folder: choosing, emptying and recognizing one. Imports nothing slow: its errors come before torch."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from dsmixer.data.names import spelt_out
from dsmixer.weights.about import metadata

MADE_HERE = (
    "config.yaml",
    "metrics.csv",
    "bad_files.csv",
    "model.safetensors",
    "result.json",
    "report.md",
    "curves.png",
    "confusion.png",
    "predictions.png",
    "masks.png",
    "results_bbox.json",
    "results_segm.json",
    "checkpoints",
    "tensorboard",
)


def new_folder(out: str | None, name: str, overwrite: bool) -> Path:
    """The folder for a new run, not yet made: ``out``, or the next runs/NAME-001. ``ValueError`` if it is taken."""
    if out is None:
        taken = [int(p.name.rpartition("-")[2]) for p in Path("runs").glob(f"{name}-[0-9][0-9][0-9]")]
        return Path("runs") / f"{name}-{max(taken, default=0) + 1:03d}"
    folder = Path(out)
    check_place(folder)
    if spelt_out(out) != out:
        raise ValueError(f"--out {out} is not UTF-8, and safetensors would not read the weights in it; choose another")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "config.yaml").is_file():
            raise ValueError(f"--out {out} is not empty, and not the folder of a run either; choose another")
        if not overwrite:
            raise ValueError(f"--out {out} holds a run; choose another, add --overwrite, or go on with --resume {out}")
    return folder


def check_place(folder: Path) -> None:
    """``ValueError`` unless ``folder``, the value of --out, is a folder to write in, or one that could be made."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not os.path.isdir(there):
        what = "is a file" if there == folder else f"lies in {there}, which is a file"
        raise ValueError(f"--out {folder} {what}; give a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"--out {folder} cannot be written: there is no permission to write in {there}")


def claim(folder: Path) -> Path:
    """Make the folder that `new_folder` named, or the next one, if another run has made it meanwhile."""
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            name, _, number = folder.name.rpartition("-")
            folder = folder.with_name(f"{name}-{int(number) + 1:03d}")
        except OSError as error:
            raise ValueError(f"{folder} cannot be made ({error.strerror}); give a folder with --out DIR") from error


def give_back(folder: Path) -> None:
    """Remove a folder in which no run has begun, and the one around it, if nothing else is there either."""
    for path in (folder, folder.parent):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def empty_folder(folder: Path) -> None:
    """Make the folder, without the remains of an earlier run; files that are not ours stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*(folder / name for name in MADE_HERE), *folder.glob("nan-*[0-9]")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def run_folder(resume: str) -> Path:
    """An existing run folder; ``ValueError`` if it is none."""
    folder = Path(resume)
    if not folder.is_dir():
        raise ValueError(f"--resume {resume} is not a folder; give the folder of a run, which holds its config.yaml")
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"--resume {resume} is not the folder of a run: it has no config.yaml")
    return folder


def finished_result(folder: Path) -> dict[str, Any] | None:
    """The result of a finished run, else none; result.json is the last file a run writes."""
    try:
        return json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError):
        return None


def told(scores: dict[str, float | None]) -> str:
    """A result's scores as a person reads them; null where nothing could be judged."""
    return ", ".join(f"{name} {'n/a' if value is None else f'{value:.4f}'}" for name, value in scores.items())


def weights_architecture(path: Path) -> str | None:
    """The architecture a .safetensors file names in its header, else none; ``ValueError`` if it is no such file."""
    return metadata(path).get("architecture")
