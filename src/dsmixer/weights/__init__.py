"""Weights that come with the package, one .safetensors file and one card each, and how weights are found by name.

Headers alone are read here, without torch: a wrong file is refused before anything slow is loaded.
"""

import difflib
import os
from pathlib import Path

from dsmixer.weights.about import About, read_about

__all__ = ["About", "default", "find", "packaged", "read_about", "variant_and_tag"]

VARIABLE = "DSMIXER_WEIGHTS"


def packaged() -> dict[str, Path]:
    """The files by name, such as ``dsm_zepto.tiny_imagenet_100`` or, with a head, ``dsm_zepto-fcos.bccd``.

    DSMIXER_WEIGHTS names another folder of them.
    """
    folder = Path(os.environ.get(VARIABLE) or Path(__file__).parent)
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
        raise ValueError(
            f"no weights of a classifier {_where()}; name a run folder or a .safetensors file (with --weights)"
        )
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
    raise ValueError(f"{weights} {_unknown(str(weights), list(known))}")


def _unknown(name: str, known: list[str]) -> str:
    """Why there are no such weights, and what would work."""
    if tagged := [packed for packed in known if variant_and_tag(packed)[0] == name]:
        return f"needs a tag, which says what the weights were trained on: {' or '.join(tagged)}"
    close = difflib.get_close_matches(name, known, 1, 0.8)
    hint = f"did you mean {close[0]}? " if close else ""
    there = f"one of {', '.join(known)}" if known else f"none of which {_where()}"
    return f"does not exist; {hint}give a run folder, a .safetensors file or a packaged name ({there})"


def _where() -> str:
    """Where packaged weights should have been, for whoever finds none."""
    named = os.environ.get(VARIABLE)
    if not named:
        return "come with this version"
    return f"lie in {named}, which {VARIABLE} names" + ("" if Path(named).is_dir() else ", but which is no folder")


def _of_run(folder: Path) -> Path:
    path = folder / "model.safetensors"
    if path.is_file():
        return path
    if (folder / "config.yaml").is_file():
        raise ValueError(f"the run {folder} is not finished; go on with it: dsmixer train --resume {folder}")
    raise ValueError(f"{folder} is not the folder of a run: it has neither model.safetensors nor config.yaml")
