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
    pretrained: bool = False,
) -> nn.Module:
    """The timm model ``name`` with weights drawn from ``seed``, or timm's own, after a trial with one empty image.

    ``ValueError`` for an unknown name, with near ones; for arguments or an image size the model does not take; for
    weights that timm does not have.
    """
    import timm

    require_registered(name)
    extra: dict[str, Any] = {**kwargs, **({"drop_path_rate": drop_path_rate} if drop_path_rate else {})}
    seed_generators(counted_seed(seed, WEIGHTS))
    try:
        model = timm.create_model(name, pretrained, num_classes=num_classes, in_chans=in_chans, **extra)
    except RuntimeError as error:
        raise ValueError(f"model.weights is timm, but for {name} it says: {error}") from error
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


def require_registered(name: str) -> None:
    """``ValueError`` with near names where timm does not know ``name``."""
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), 3) or timm.list_models("dsm_*")[:3]
        raise ValueError(f"model.name is {name}, which is not registered; try {', '.join(close) or 'dsmixer models'}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file by name; ``ValueError`` where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors file of weights: {error}") from error


def load_weights(model: nn.Module, name: str, path: Path) -> str:
    """Load a .safetensors file of the same architecture; a head of another size stays as drawn. Returns the news.

    Of other input channels the first convolution is adapted as timm does it: its response to a gray image stays.
    """
    from timm.models import adapt_input_conv

    theirs, mine = weights_architecture(path) or "another model", model.state_dict()
    tensors = read_tensors(path)
    for key in (f"{prefix}.weight" for prefix in _settings(model, "first_conv")):
        if key in tensors and key in mine and tensors[key].shape[1] != (chans := mine[key].shape[1]):
            tensors[key] = adapt_input_conv(chans, tensors[key], base_chans=tensors[key].shape[1])
    head = tuple(f"{prefix}." for prefix in _settings(model, "classifier"))
    left = [key for key in mine if key not in tensors or tensors[key].shape != mine[key].shape]
    if set(tensors) - set(mine) or not all(key.startswith(head) for key in left):
        key = min((set(tensors) ^ set(mine)) | set(left))
        raise ValueError(f"{path} holds weights of {theirs}, not of {name} as configured: {key} does not match")
    model.load_state_dict({key: value for key, value in tensors.items() if key not in left}, strict=False)
    return f"started from {path}" + (f"; drawn afresh: {', '.join(left)}" if left else "")


def freeze_backbone(model: nn.Module, name: str) -> str:
    """Let the classifier alone learn; returns the news.

    ``ValueError`` for a model that does not say which its classifier is, or whose batch norms would go on averaging.
    """
    head = tuple(f"{prefix}." for prefix in _settings(model, "classifier"))
    if not head:
        raise ValueError(f"model.freeze is backbone, but timm does not say which layer of {name} is the classifier")
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise ValueError(f"model.freeze is backbone, but the batch norms of {name} would go on averaging; try none")
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key.startswith(head))
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return f"frozen but for {', '.join(_settings(model, 'classifier'))}: {learning:,} parameters learn"


def _settings(model: nn.Module, key: str) -> tuple[str, ...]:
    """Names of modules in timm's settings of a model: its "classifier", its "first_conv"."""
    settings: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    names = settings.get(key) or ()
    return (names,) if isinstance(names, str) else tuple(names)


def save_weights(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Finished weights, keyed as timm loads them; in the metadata ``about``, all but the architecture as JSON."""
    metadata = {name: value if name == "architecture" else json.dumps(value) for name, value in about.items()}
    write_atomically(path, to_safetensors(tensors, {"format": "pt", **metadata}))
