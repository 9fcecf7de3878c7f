"""From a run's weights to a file that ships: half precision, the same metadata, and a card in Markdown."""

import re
import shlex
from pathlib import Path
from typing import Any

import torch

from dsmixer.engine.checkpoint import CheckpointError, write_atomically
from dsmixer.engine.dense import without_auxiliary
from dsmixer.engine.folder import told
from dsmixer.engine.model import read_tensors, save_weights
from dsmixer.weights import read_about, variant_and_tag

PLACES = {"--data.root": "FOLDER", "--model.weights": "WEIGHTS", "--out": "", "--resume": ""}


def package(weights: Path, tag: str, folder: Path, result: dict[str, Any] | None) -> tuple[Path, Path]:
    """Write ARCHITECTURE.TAG.safetensors and its card, ARCHITECTURE.TAG.md, into ``folder``; returns both.

    ``tag`` takes the place of a tag that the architecture has. With a head it is ARCHITECTURE-HEAD.TAG, a name that
    timm, which knows classifiers alone, never asks for. ``result`` is the run's result.json, for the card.
    ``ValueError`` for a tag that is no plain word, for files that are there already, and for weights that float16
    cannot hold.
    """
    if not re.fullmatch(r"\w+", tag, re.ASCII):
        raise ValueError(f"--tag is {tag!r}, but it must be letters, digits and _, such as tiny_imagenet_100")
    about = read_about(weights)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; give a folder")
    name = f"{variant_and_tag(about.architecture)[0]}{f'-{about.head}' if about.head else ''}.{tag}"
    file, card = folder / f"{name}.safetensors", folder / f"{name}.md"
    for path in (file, card):
        if path.exists():
            raise ValueError(f"{path} exists; remove it first, or choose another --tag or --out")
    halved = {key: _half(key, tensor) for key, tensor in without_auxiliary(read_tensors(weights)).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(file, halved, about.to_dict())
    try:
        write_atomically(card, _card(name, about.to_dict(), file.stat().st_size, result))
    except (CheckpointError, OSError):
        file.unlink()  # both or neither: the next try would be told that it exists
        raise
    return file, card


def _half(key: str, tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.half() if tensor.is_floating_point() else tensor
    if half.is_floating_point() and not half.isfinite().all():
        raise ValueError(f"{key} has values that half precision cannot hold (beyond 65504, or not finite)")
    return half


def _card(name: str, about: dict[str, Any], size: int, result: dict[str, Any] | None) -> str:
    names = about["class_names"]
    lines = [
        f"# {name}",
        "",
        f"{len(names)} classes, input {_input(about)}; {size / 1e6:.2f} MB, float16.",
        "",
        "```python",
        *_use(name, about),
        "```",
        "",
        "## Where it comes from",
        "",
        *(_origin(name, result) if result else ["Not known: it was made from a file, not from a run."]),
        "",
        "## Use and limits",
        "",
        _limits(about),
        "",
        "## Classes",
        "",
        ", ".join(names) + ".",
        "",
    ]
    return "\n".join(lines)


def _input(about: dict[str, Any]) -> str:
    side = about["image_size"]
    return f"{about['in_chans']} channels of any size" if about.get("head") else f"{about['in_chans']}x{side}x{side}"


def _use(name: str, about: dict[str, Any]) -> list[str]:
    load = f'dsmixer.load("{name}").predict("photo.jpg")'
    if about.get("head"):
        return ["import dsmixer", "", load]
    return [
        "import dsmixer, timm",
        "",
        f"{load}  # or, as a timm model:",
        f'timm.create_model("{name}", pretrained=True)',
    ]


def _origin(name: str, result: dict[str, Any]) -> list[str]:
    hardware = ", ".join(f"{key} {value}" for key, value in result["hardware"].items())
    return [
        f"Trained on {result['train_images']:,} images of {result['data']}, with seed {result['seed']}, in "
        f"{result['train_seconds'] / 3600:.1f} hours ({hardware}), by",
        "",
        f"    {public(result['command'])}",
        "",
        f"Before the rounding to float16, on {result['test_images']:,} test images: {told(result['test'])}. "
        f"The file itself: `dsmixer evaluate {name} --data.root FOLDER`.",
    ]


def public(command: str) -> str:
    """A run's command without what only its machine knows: where the data and the run lie, and what it started from."""
    words = [
        part for word in shlex.split(command) for part in (word.split("=", 1) if word.startswith("--") else [word])
    ]
    kept: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if before == "--recipe":
            kept.append(shlex.quote(Path(word).name))
        elif before in PLACES:
            kept += [before, PLACES[before]] if PLACES[before] else []
        elif word not in (*PLACES, "--overwrite"):
            kept.append(shlex.quote(word))
    return " ".join(kept)


def _limits(about: dict[str, Any]) -> str:
    if about.get("head"):
        return (
            "It knows the classes below alone, and images like those it was trained on: with other cameras, scales or "
            "subjects it is unlikely to do well."
        )
    return (
        "It names one of the classes below for any image, one that shows none of them included. Images are cut to "
        f"their middle square and resized to {about['image_size']} pixels; what is small or near the border is lost."
    )
