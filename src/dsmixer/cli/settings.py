"""Options of a verb made from a dataclass of ``config/``: default and text from there."""

import argparse
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from dsmixer.cli import Parser
from dsmixer.config import InferenceConfig, field_docs

S = TypeVar("S", bound=InferenceConfig)


def add_settings(parser: Parser, kind: type[InferenceConfig]) -> None:
    """One option for each field, those it inherits first."""
    hints, defaults = get_type_hints(kind), kind()
    docs = {name: text for base in reversed(kind.__mro__[:-1]) for name, text in field_docs(base).items()}
    for name, text in docs.items():
        default = getattr(defaults, name)
        if get_origin(hints[name]) is Literal:
            form: dict[str, Any] = {"choices": get_args(hints[name])}
        elif isinstance(default, list):
            form = {"type": get_args(hints[name])[0], "nargs": "*", "metavar": name[0].upper()}
        elif hints[name] is bool:
            form = {"action": "store_true"}
        else:
            form = {"type": hints[name]}
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        parser.add_argument(option(name), default=default, help=f"{text} (default: {shown})", **form)


def read_settings(chosen: argparse.Namespace, kind: type[S]) -> S:
    """What was chosen, checked."""
    settings = kind(**{field.name: getattr(chosen, field.name) for field in fields(kind)})
    settings.check()
    return settings


def option(name: str) -> str:
    """As it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def refuse_idle(settings: InferenceConfig, idle: Iterable[str], what: str) -> None:
    """``ValueError`` for the first of the fields ``idle`` that was asked for: ``what`` does not look at it."""
    defaults = type(settings)()
    for name in idle:
        if getattr(settings, name) != getattr(defaults, name):
            raise ValueError(f"{option(name)} is {getattr(settings, name)}, but {what} does not look at it")


def new_folder(option: str, name: str | None, overwrite: bool) -> Path | None:
    """A folder to write into; ``ValueError`` if there is something in it already."""
    if name is None:
        return None
    path = Path(name)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{option} {name} is a file; give a folder")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise ValueError(f"{option} {name} is not empty; choose another or add --overwrite")
    return path


def new_file(option: str, name: str | None, overwrite: bool) -> Path | None:
    """A file to write; ``ValueError`` if it is there already, or its folder is not."""
    if name is None:
        return None
    path = Path(name)
    if path.is_dir():
        raise ValueError(f"{option} {name} is a folder; give a file")
    if not path.parent.is_dir():
        exists = path.parent.exists()
        wrong = f"{path.parent} is no folder" if exists else f"the folder {path.parent} does not exist; make it first"
        raise ValueError(f"{option} {name}: {wrong}")
    if path.exists() and not overwrite:
        raise ValueError(f"{option} {name} exists; choose another or add --overwrite")
    return path
