"""A model by its name, starting weights into it, finished weights out of it."""

import difflib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsmixer.data.seeds import WEIGHTS, counted_seed, seed_generators
from dsmixer.engine.checkpoint import to_safetensors, write_atomically
from dsmixer.engine.folder import weights_architecture


def build_model(
    name: str,
    kwargs: dict[str, Any],
    *,
    num_classes: int,
    in_chans: int,
    drop_path_rate: float,
    image_size: int,
    seed: int,
) -> nn.Module:
    """The timm model ``name`` with weights drawn from ``seed``, after a trial with one empty image.

    ``ValueError`` for an unknown name, with near ones; for arguments or an image size the model does not take.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), 3) or timm.list_models("dsm_*")[:3]
        raise ValueError(f"model.name is {name}, which is not registered; try {', '.join(close) or 'dsmixer models'}")
    extra: dict[str, Any] = {**kwargs, **({"drop_path_rate": drop_path_rate} if drop_path_rate else {})}
    seed_generators(counted_seed(seed, WEIGHTS))
    try:
        model = timm.create_model(name, num_classes=num_classes, in_chans=in_chans, **extra)
    except TypeError as error:
        raise ValueError(f"{name} does not take model.kwargs {extra}: {error}") from error
    side = image_size
    try:
        with torch.inference_mode():
            shape = tuple(model.eval()(torch.zeros(1, in_chans, side, side)).shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{name} cannot take images of {in_chans}x{side}x{side}: {reason}") from error
    if shape != (1, num_classes):
        raise ValueError(f"{name} answers an image with shape {shape}, not (1, {num_classes}); is it a classifier?")
    return model


def load_weights(model: nn.Module, name: str, path: Path) -> str:
    """Load a .safetensors file of the same architecture; a head of another size stays as drawn. Returns the news."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    theirs, mine = weights_architecture(path) or "another model", model.state_dict()
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors file of weights: {error}") from error
    head = tuple(f"{prefix}." for prefix in _head_names(model))
    left = [key for key in mine if key not in tensors or tensors[key].shape != mine[key].shape]
    if set(tensors) - set(mine) or not all(key.startswith(head) for key in left):
        key = min((set(tensors) ^ set(mine)) | set(left))
        raise ValueError(f"{path} holds weights of {theirs}, not of {name} as configured: {key} does not match")
    model.load_state_dict({key: value for key, value in tensors.items() if key not in left}, strict=False)
    return f"started from {path}" + (f"; drawn afresh: {', '.join(left)}" if left else "")


def _head_names(model: nn.Module) -> tuple[str, ...]:
    settings: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    names = settings.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def save_weights(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Finished weights, keyed as timm loads them; in the metadata ``about``, all but the architecture as JSON."""
    metadata = {name: value if name == "architecture" else json.dumps(value) for name, value in about.items()}
    write_atomically(path, to_safetensors(tensors, {"format": "pt", **metadata}))
