"""The packaged weights as timm knows them: ``dsm_zepto.tiny_imagenet_100`` beside ``dsm_zepto``.

A name without a tag is the network alone, whatever weights are shipped: its stem and its classes do not change with a
release. A name with a tag has the options its weights were trained with.
"""

import warnings
from pathlib import Path
from typing import Any

from dsmixer.weights import About, packaged, read_about, variant_and_tag


def read_packaged(variants: dict[str, Any]) -> dict[str, tuple[Path, About]]:
    """File and metadata of each packaged classifier of ours; others, such as a peer's, are not for timm to know.

    A file that cannot be read, or whose name belies its content, is a warning: timm must be importable with it.
    """
    found = {}
    for name, path in packaged().items():
        try:
            about = read_about(path)
            if about.head is None and variant_and_tag(name)[0] != variant_and_tag(about.architecture)[0]:
                raise ValueError(f"{path} holds weights of {about.architecture}; its name must begin with that")
        except ValueError as error:
            warnings.warn(f"not registered with timm: {error}", stacklevel=2)
            continue
        if about.head is None and about.architecture in variants:
            found[name] = (path, about)
    return found


def pretrained_cfg(path: Path, about: About, reduction: int) -> dict[str, Any]:
    """What timm keeps of one file; ``reduction`` is the stride of the last stage."""
    return {
        "file": str(path),
        "num_classes": about.num_classes,
        "label_names": tuple(about.class_names),
        "input_size": (about.in_chans, about.image_size, about.image_size),
        "pool_size": (-(-about.image_size // reduction),) * 2,
        "crop_pct": about.crop_pct,
        "interpolation": about.interpolation,
        "mean": tuple(about.mean),
        "std": tuple(about.std),
    }


def tag_of(cfg: Any) -> str | None:
    """The tag in any of the forms in which timm hands a configuration on: its name, a dict, a PretrainedCfg."""
    if cfg is None or isinstance(cfg, str):
        return cfg
    return cfg.get("tag") if isinstance(cfg, dict) else cfg.tag
