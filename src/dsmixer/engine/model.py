"""A model by its name, starting weights into it, finished weights out of it."""

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsmixer.data.seeds import WEIGHTS, counted_seed, seed_generators
from dsmixer.engine.checkpoint import to_safetensors, write_atomically
from dsmixer.engine.folder import weights_architecture
from dsmixer.weights import variant_and_tag
from dsmixer.weights.about import metadata


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
    with constructing(name, f"model.kwargs {extra}", pretrained):
        model = timm.create_model(name, pretrained, num_classes=num_classes, in_chans=in_chans, **extra)
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


@contextmanager
def constructing(name: str, arguments: str, pretrained: bool) -> Iterator[None]:
    """What a network's construction raises as a ``ValueError``; that weights cannot be fetched stays an ``OSError``."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # of any kind: what its authors did not foresee fails where it happens to
        reason = str(error) or type(error).__name__
        if pretrained and isinstance(error, RuntimeError):
            raise ValueError(f"model.weights is timm, but for {name} it says: {reason}") from error
        raise ValueError(f"{name} does not take {arguments}: {reason}") from error


def require_registered(name: str) -> None:
    """``ValueError`` with near names where timm does not know ``name`` or its tag."""
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), 3) or timm.list_models("dsm_*")[:3]
        raise ValueError(f"model.name is {name}, which is not registered; try {', '.join(close) or 'dsmixer models'}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        variant, tag = variant_and_tag(name)
        tagged = timm.list_pretrained(f"{variant}.*")
        close = [variant, *(difflib.get_close_matches(name, tagged, 3) or tagged[:3])]
        raise ValueError(f"model.name is {name}, but timm has no tag {tag!r}; try {', '.join(close)}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file by name; ``ValueError`` where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors file of weights: {error}") from error


def load_weights(model: nn.Module, name: str, path: Path, class_names: list[str]) -> str:
    """Load a .safetensors file of the same architecture; a head for other classes stays as drawn. Returns the news.

    Of other input channels the first convolution is adapted.
    """
    theirs, mine = weights_architecture(path) or "another model", model.state_dict()
    tensors = adapt_channels(read_tensors(path), model)
    head = tuple(f"{prefix}." for prefix in _settings(model, "classifier"))
    if has_other_classes(path, class_names):
        tensors = {key: value for key, value in tensors.items() if not key.startswith(head)}
    left = [key for key in mine if key not in tensors or tensors[key].shape != mine[key].shape]
    wrong = [key for key in tensors if key not in mine] + [key for key in left if not key.startswith(head)]
    if wrong:
        raise ValueError(f"{path} holds weights of {theirs}, not of {name} as configured: {min(wrong)} does not match")
    model.load_state_dict({key: value for key, value in tensors.items() if key not in left}, strict=False)
    return f"started from {path}" + (f"; drawn afresh: {', '.join(left)}" if left else "")


def adapt_channels(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights for the input channels of a timm model, adapted as timm does it: the response to a gray image stays."""
    from timm.models import adapt_input_conv

    adapted, mine = dict(tensors), model.state_dict()
    for key in (f"{prefix}.weight" for prefix in _settings(model, "first_conv")):
        if key in tensors and key in mine and tensors[key].shape[1] != (chans := mine[key].shape[1]):
            adapted[key] = adapt_input_conv(chans, tensors[key], base_chans=tensors[key].shape[1])
    return adapted


def has_other_classes(path: Path, class_names: list[str]) -> bool:
    """Whether a .safetensors file says that it tells other classes, or these in another order."""
    return metadata(path).get("class_names") not in (None, json.dumps(class_names))


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
