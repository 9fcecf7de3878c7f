"""From a run's weights to a file that ships: half precision, the same metadata, and a card in Markdown."""

import re
from pathlib import Path
from typing import Any

import torch

from dsmixer.engine.checkpoint import write_atomically
from dsmixer.engine.model import save_weights
from dsmixer.weights import read_about


def package(weights: Path, tag: str, folder: Path, result: dict[str, Any] | None) -> tuple[Path, Path]:
    """Write ARCHITECTURE.TAG.safetensors and its card, ARCHITECTURE.TAG.md, into ``folder``; returns both.

    ``result`` is the run's result.json, for the card. ``ValueError`` for a tag that is no plain word, for files that
    are there already, and for weights that float16 cannot hold.
    """
    from safetensors.torch import load_file

    if not re.fullmatch(r"\w+", tag, re.ASCII):
        raise ValueError(f"--tag is {tag!r}, but it must be letters, digits and _, such as tiny_imagenet_100")
    about = read_about(weights)
    name = f"{about.architecture}.{tag}"
    file, card = folder / f"{name}.safetensors", folder / f"{name}.md"
    for path in (file, card):
        if path.exists():
            raise ValueError(f"{path} exists; remove it first, or choose another --tag or --out")
    halved = {key: _half(key, tensor) for key, tensor in load_file(weights).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(file, halved, about.to_dict())
    write_atomically(card, _card(name, about.to_dict(), file.stat().st_size, result).encode())
    return file, card


def _half(key: str, tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.half() if tensor.is_floating_point() else tensor
    if half.is_floating_point() and not half.isfinite().all():
        raise ValueError(f"{key} has values that half precision cannot hold (beyond 65504, or not finite)")
    return half


def _card(name: str, about: dict[str, Any], size: int, result: dict[str, Any] | None) -> str:
    names, side = about["class_names"], about["image_size"]
    lines = [
        f"# {name}",
        "",
        f"{len(names)} classes, input {about['in_chans']}x{side}x{side}; {size / 1e6:.2f} MB, float16.",
        "",
        "```python",
        "import dsmixer, timm",
        "",
        f'dsmixer.load("{name}").predict("photo.jpg")  # or, as a timm model:',
        f'timm.create_model("{name}", pretrained=True)',
        "```",
        "",
        "## Where it comes from",
        "",
    ]
    if result:
        scores = ", ".join(f"{key} {value:.4f}" for key, value in result["test"].items())
        lines += [
            f"Trained on {result['train_images']:,} images of {result['data']} with",
            "",
            f"    {result['command']}",
            "",
            f"Before the rounding to float16, on {result['test_images']:,} test images: {scores}. "
            f"The file itself: `dsmixer evaluate {name} --data.root FOLDER`.",
        ]
    else:
        lines += ["Not known: it was made from a file, not from a run."]
    lines += ["", "## Use and limits", "", _limits(about), "", "## Classes", "", ", ".join(names) + ".", ""]
    return "\n".join(lines)


def _limits(about: dict[str, Any]) -> str:
    return (
        "It names one of the classes below for any image, one that shows none of them included. Images are cut to "
        f"their middle square and resized to {about['image_size']} pixels; what is small or near the border is lost."
    )
