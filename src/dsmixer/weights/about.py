"""What a weights file says about itself: the network, its classes, and how an image becomes its input."""

import json
import math
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

MAX_HEADER = 100_000_000
# What timm.create_model would do beside building a network: read other files, or fetch them.
FORBIDDEN = ("pretrained", "checkpoint", "cache", "features_only", "num_classes", "in_chans")


@dataclass(frozen=True)
class About:
    """The metadata that `dsmixer train` writes into model.safetensors."""

    architecture: str
    model_kwargs: dict[str, Any]
    class_names: list[str]
    image_size: int
    in_chans: int
    mean: list[float]
    std: list[float]
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    head: str | None = None  # what reads the features; None for the model's own classifier
    head_kwargs: dict[str, Any] = field(default_factory=dict)
    short_side: int | None = None  # pixels that a segmenter's images are resized to

    @property
    def num_classes(self) -> int:
        """Outputs of the network."""
        return len(self.class_names)

    @property
    def mode(self) -> str:
        """Pillow's name of the images the network takes."""
        return "L" if self.in_chans == 1 else "RGB"

    def to_dict(self) -> dict[str, Any]:
        """As `dsmixer train` writes it."""
        dense = () if self.head else ("head", "head_kwargs", "short_side")
        return {**{k: v for k, v in vars(self).items() if k not in dense}, "num_classes": self.num_classes}


def metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a .safetensors file; ``ValueError`` if it is no such file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= MAX_HEADER:
                raise ValueError("no header")
            header = json.loads(file.read(length))
        return dict(header.get("__metadata__", {}))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable .safetensors file of weights") from error


def read_about(path: Path) -> About:
    """The metadata, checked; ``ValueError`` where a file does not say, or not sensibly, how to use it."""
    found = metadata(path)
    names = [each.name for each in fields(About)]
    needed = [each.name for each in fields(About) if each.default is each.default_factory is MISSING]
    missing = [name for name in needed if name not in found]
    if missing:
        raise ValueError(
            f"{path} does not say its {', '.join(missing)}: only weights that `dsmixer train` wrote can be used alone"
        )
    try:
        values: dict[str, Any] = {name: json.loads(found[name]) for name in names[1:] if name in found}
        about = About(architecture=found["architecture"], **values)
        wrong = _wrong(about)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} has metadata that cannot be read: {error}") from error
    if wrong:
        raise ValueError(f"{path} has metadata that cannot be right: {wrong} is {getattr(about, wrong)!r}")
    return about


def _wrong(about: About) -> str | None:
    """The first field that no training run would have written."""
    kwargs, names = about.model_kwargs, about.class_names
    scales = {"mean": about.mean, "std": about.std}
    good = {
        "model_kwargs": isinstance(kwargs, dict) and not any(key.startswith(FORBIDDEN) for key in kwargs),
        "class_names": isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names),
        "image_size": isinstance(about.image_size, int) and 1 <= about.image_size <= 16384,
        "in_chans": about.in_chans in (1, 3),
        "head": about.head is None or isinstance(about.head, str),
        "head_kwargs": isinstance(about.head_kwargs, dict),
        "short_side": about.short_side is None or (isinstance(about.short_side, int) and about.short_side > 0),
        "crop_pct": isinstance(about.crop_pct, int | float) and 0 < about.crop_pct <= 1,
        "interpolation": about.interpolation in ("bicubic", "bilinear"),
        **{name: len(values) == about.in_chans and all(map(math.isfinite, values)) for name, values in scales.items()},
    }
    if good["std"] and min(about.std) <= 0:
        return "std"
    return next((name for name, fine in good.items() if not fine), None)
