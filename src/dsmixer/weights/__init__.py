"""Weights that come with the package, one .safetensors file and one card each, and how weights are found by name.

Headers alone are read here, without torch: a wrong file is refused before anything slow is loaded.
"""

import os
from pathlib import Path

from dsmixer.weights.about import About, read_about

__all__ = ["About", "default", "find", "packaged", "read_about", "variant_and_tag"]


def packaged() -> dict[str, Path]:
    """The files by name, such as ``dsm_zepto.tiny_imagenet_100`` or, with a head, ``dsm_zepto-fcos.bccd``.

    DSMIXER_WEIGHTS names another folder of them.
    """
    folder = Path(os.environ.get("DSMIXER_WEIGHTS") or Path(__file__).parent)
    return {path.stem: path for path in sorted(folder.glob("*.*.safetensors"))}


def variant_and_tag(name: str) -> tuple[str, str]:
    """``("dsm_zepto", "tiny_imagenet_100")``."""
    variant, _, tag = name.partition(".")
    return variant, tag


def default() -> Path:
    """What is used where nothing is asked for: the packaged classifier of most classes, then of most bytes."""
    known = [(read_about(path), path) for path in packaged().values()]
    files = [(about.num_classes, path.stat().st_size, path) for about, path in known if about.head is None]
    if not files:
        raise ValueError("no weights come with this version; name a run folder or a .safetensors file (with --weights)")
    return max(files)[-1]


def find(weights: str | os.PathLike[str] | None) -> Path:
    """The file that is meant: of a run folder, a .safetensors file, a packaged name, or nothing for the default.

    ``ValueError`` saying what ``weights`` is instead, and what would work.
    """
    if weights is None:
        return default()
    path, known = Path(weights), packaged()
    if path.is_dir():
        return _of_run(path)
    if str(weights) in known:
        return known[str(weights)]
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if path.is_file():
        raise ValueError(f"{path} is no .safetensors file; nothing else is read, for other formats can run code")
    there = f"one of {', '.join(known)}" if known else "none of which come with this version"
    raise ValueError(f"{weights} does not exist; give a run folder, a .safetensors file or a packaged name ({there})")


def _of_run(folder: Path) -> Path:
    path = folder / "model.safetensors"
    if path.is_file():
        return path
    if (folder / "config.yaml").is_file():
        raise ValueError(f"the run {folder} is not finished; go on with it: dsmixer train --resume {folder}")
    raise ValueError(f"{folder} is not the folder of a run: it has neither model.safetensors nor config.yaml")
