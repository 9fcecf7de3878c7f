"""What the run that made some weights says of itself, in the configuration beside them. Imports nothing slow."""

from pathlib import Path
from typing import Any

from dsmixer.config import SECTIONS, DataConfig


def run_config(weights: Path) -> dict[str, dict[str, Any]]:
    """Values by section; none where there is no configuration, or where the file of that name is another program's."""
    import yaml

    path = weights.parent / "config.yaml"
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError):  # the latter for a date that is none
        return {}
    ours = isinstance(content, dict) and all(
        section in SECTIONS and isinstance(values, dict) for section, values in content.items()
    )
    return content if ours else {}


def held_back(weights: Path) -> float:
    """The share of train that the run of these weights held back where its data had no split for it."""
    return _of_data(weights, "val_fraction")


def allows_outside(weights: Path) -> bool:
    """Whether a CSV file could name images outside its folder in the run of these weights."""
    return _of_data(weights, "allow_outside")


def _of_data(weights: Path, name: str) -> Any:
    return run_config(weights).get("data", {}).get(name, getattr(DataConfig, name))
