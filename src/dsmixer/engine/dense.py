"""A backbone with a head for pixels or objects: built by name, started from weights, with or without such a head."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsmixer.data.seeds import WEIGHTS, counted_seed, seed_generators
from dsmixer.engine.model import adapt_channels, constructing, has_other_classes, read_tensors, require_registered
from dsmixer.heads.detectors import KINDS, Detector
from dsmixer.heads.segmenter import Segmenter

AUXILIARY = "auxiliary."  # the head of a segmenter that only training looks at


def build_dense(
    head: str,
    head_kwargs: dict[str, Any],
    name: str,
    kwargs: dict[str, Any],
    *,
    num_classes: int,
    in_chans: int,
    mean: list[float],
    std: list[float],
    seed: int,
    drop_path_rate: float = 0.0,
    auxiliary: bool = False,
    pretrained: bool = False,
) -> nn.Module:
    """``Segmenter`` or ``Detector`` on the timm model ``name``, after a trial with one empty image.

    A detector normalizes by ``mean`` and ``std`` itself. ``ValueError`` for an unknown name and for arguments or images
    that the two do not take.
    """
    require_registered(name)
    backbone = {**kwargs, "in_chans": in_chans, **({"drop_path_rate": drop_path_rate} if drop_path_rate else {})}
    backbone |= {"pretrained": True} if pretrained else {}
    seed_generators(counted_seed(seed, WEIGHTS))
    further: dict[str, Any] = {"backbone_kwargs": backbone}
    arguments = f"model.kwargs {kwargs} and model.head_kwargs {head_kwargs}"
    with constructing(f"{name} with model.head {head}", arguments, pretrained):
        if head in KINDS:
            model: nn.Module = Detector(head, name, num_classes, mean=mean, std=std, **further, **head_kwargs)
        else:
            further |= {"head": head, "head_kwargs": head_kwargs, "auxiliary": auxiliary}
            model = Segmenter(name, num_classes, **further)
    _try(model.get_submodule(str(model.body)), name, in_chans)
    return model


def _try(body: nn.Module, name: str, in_chans: int) -> None:
    """An image of two sides that no stride divides."""
    try:
        with torch.inference_mode():
            body.eval()(torch.zeros(1, in_chans, 97, 66))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{name} cannot take images of any size, as dense tasks need it: {reason}") from error


def start_dense(model: Any, name: str, path: Path, class_names: list[str]) -> str:
    """Load a .safetensors file: of a whole classifier for the backbone, or of the same head, perhaps for other classes.

    What tells other classes stays as drawn. Returns the news. ``ValueError`` for anything else.
    """
    tensors = read_tensors(path)
    inner, mine = f"{model.body}.", model.state_dict()
    if not any(key.startswith(inner) for key in tensors):
        model.start_backbone(adapt_channels(tensors, model.get_submodule(f"{inner}model")), path)
        return f"started from the backbone of {path}"
    may_lack: tuple[str, ...] = (AUXILIARY,)
    if has_other_classes(path, class_names):
        classifier = tuple(f"{place}." for place in model.classifier)
        tensors = {key: value for key, value in tensors.items() if not key.startswith(classifier)}
        may_lack += classifier
    left = [key for key in mine if key not in tensors or tensors[key].shape != mine[key].shape]
    strange = [key for key in tensors if key not in mine and not key.startswith(AUXILIARY)]
    lacking = [key for key in mine if key not in tensors and not key.startswith(may_lack)]
    wrong = strange + lacking + [key for key in left if key.startswith(inner)]
    if wrong:
        raise ValueError(f"{path} holds weights of another network than {name} as configured: {min(wrong)}")
    model.load_state_dict({key: tensors[key] for key in mine if key not in left}, strict=False)
    return f"started from {path}" + (f"; drawn afresh: {', '.join(left)}" if left else "")


def without_auxiliary(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A segmenter's weights but those that only training needs."""
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(AUXILIARY)}
