"""What runs that label pixels and runs that find objects have in common."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsmixer.config import Config

if TYPE_CHECKING:
    from torch import nn


def dense_model(
    config: Config, classes: list[str], head_kwargs: dict[str, Any], begin: bool
) -> "tuple[nn.Module, str]":
    """The network for pixels or objects, and what it started from, or ""."""
    from dsmixer.engine.dense import build_dense, start_dense

    model, weights = config.model, config.model.weights
    name = str(model.name)
    network = build_dense(
        str(model.head),
        head_kwargs,
        name,
        model.kwargs,
        num_classes=len(classes),
        in_chans=config.data.in_chans,
        mean=config.data.mean,
        std=config.data.std,
        seed=config.run.seed,
        drop_path_rate=model.drop_path_rate,
        auxiliary=config.masks.auxiliary_weight > 0,
        pretrained=weights == "timm" and begin,
    )
    if not weights or not begin:
        return network, ""
    if weights == "timm":
        return network, "started from timm's weights"
    return network, start_dense(network, name, Path(weights), classes)


def dense_about(config: Config, classes: list[str], head_kwargs: dict[str, Any], **further: Any) -> dict[str, Any]:
    """Metadata of the weights of a network for pixels or objects."""
    data, model = config.data, config.model
    return {
        "architecture": model.name,
        "model_kwargs": model.kwargs,
        "head": model.head,
        "head_kwargs": head_kwargs,
        "num_classes": len(classes),
        "class_names": classes,
        "image_size": data.image_size,
        "in_chans": data.in_chans,
        "mean": data.mean,
        "std": data.std,
        **further,
    }
