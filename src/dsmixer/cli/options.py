"""From recipe and command line to a checked ``Config``; a wrong word is answered with the nearest right one."""

import difflib
import io
import re
from contextlib import redirect_stdout
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from dsmixer.config import SECTIONS, Config, field_docs

# What other programs call some settings
HABITS = {
    "learning_rate": "optim.lr",
    "wd": "optim.weight_decay",
    "opt": "optim.name",
    "optimizer": "optim.name",
    "warmup": "optim.warmup_epochs",
    "batch": "data.batch_size",
    "bs": "data.batch_size",
    "img_size": "data.image_size",
    "imgsz": "data.image_size",
    "num_workers": "data.workers",
    "data": "data.root",
    "model": "model.name",
    "pretrained": "model.weights",
}


def parser() -> ArgumentParser:
    """One option for each field of the configuration: its default and text from there, its type checked."""
    options = ArgumentParser(prog="dsmixer train", exit_on_error=False, add_help=False)
    for section, kind in SECTIONS.items():
        group = options.add_argument_group(section, (kind.__doc__ or "").strip())
        hints, docs, defaults = get_type_hints(kind), field_docs(kind), kind()
        for name in docs:
            group.add_argument(
                f"--{section}.{name}", type=hints[name], default=getattr(defaults, name), help=docs[name]
            )
    return options


def help_text() -> str:
    """The configuration's part of `dsmixer train --help`."""
    text = io.StringIO()
    with redirect_stdout(text):
        parser().print_help()
    return text.getvalue().partition("\n\n")[2]


def recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _packaged().iterdir() if entry.name.endswith(".yaml"))


def read_recipe(recipe: str) -> tuple[str, dict[str, Any]]:
    """Name and content of a packaged recipe or of a YAML file."""
    if recipe in recipes():
        return recipe, read_yaml(_packaged().joinpath(f"{recipe}.yaml").read_text(), recipe)
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        from dsmixer.data.source import read_text

        return path.stem, read_yaml(read_text(path), recipe)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise ValueError(f"--recipe {recipe} does not exist; give a YAML file or one of {', '.join(recipes())}")
    raise ValueError(f"--recipe {recipe} is unknown; {_near(recipe, recipes())}, or give a YAML file")


def read_yaml(text: str, name: str) -> dict[str, Any]:
    """Plain values by section; every key known."""
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name} holds {type(content).__name__}, expected the sections {', '.join(SECTIONS)}")
    for section, values in content.items():
        if section not in SECTIONS:
            raise ValueError(f"{name}: section {section!r} is unknown; {_near(str(section), list(SECTIONS))}")
        if not isinstance(values, dict):
            raise ValueError(f"{name}: section {section} is {values!r}, expected keys and values")
        for key in values:
            _known(f"{section}.{key}", name)
    return content


def resolve(content: dict[str, Any], arguments: list[str]) -> Config:
    """Defaults, below a recipe's content, below the command line; types and limits checked."""
    options = parser()
    for argument in arguments:
        if argument.startswith("--"):
            _known(argument[2:].partition("=")[0].removesuffix("+"), "the command line")
    try:
        chosen = options.parse_args(arguments, namespace=options.parse_object(content))
    except Exception as error:  # jsonargparse raises argparse's ArgumentError, and TypeError for some values
        raise ValueError(_plainly(str(error))) from error
    config = Config(**{section: kind(**_values(chosen[section])) for section, kind in SECTIONS.items()})
    if config.model.head != content.get("model", {}).get("head") and not _given("model.head_kwargs", arguments):
        config.model.head_kwargs = {}  # those of the recipe are for its own head
    config.check()
    return config


def _given(key: str, arguments: list[str]) -> bool:
    return any(argument[2:].partition("=")[0].rstrip("+").startswith(key) for argument in arguments)


def flat(config: Config) -> dict[str, Any]:
    """``{"optim.lr": ...}``."""
    return {
        f"{section}.{name}": value for section, fields in config.to_dict().items() for name, value in fields.items()
    }


def _values(section: Namespace) -> dict[str, Any]:
    return {name: value.as_dict() if isinstance(value, Namespace) else value for name, value in vars(section).items()}


def _known(key: str, where: str) -> None:
    keys = list(flat(Config()))
    if key not in keys and not key.startswith("model.kwargs."):
        raise ValueError(f"{where}: {key!r} is no setting; {_near_setting(key, keys)}")


def _near_setting(key: str, keys: list[str]) -> str:
    """The nearest by its last word, for the section is what people leave out."""
    section, _, last = key.replace("-", "_").rpartition(".")
    by_last: dict[str, list[str]] = {word: [known] for word, known in HABITS.items()}
    for known in [*(() if section else ("recipe", "resume", "out", "overwrite")), *keys]:
        by_last.setdefault(known.rpartition(".")[2], []).append(known)
    close = difflib.get_close_matches(last, by_last, 1)
    if not close:
        return _near(key, keys)
    found = by_last[close[0]]
    return f"did you mean {' or '.join([k for k in found if k.startswith(f'{section}.')] or found)}?"


def _near(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, 2, 0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(words[:8])}"


def _plainly(message: str) -> str:
    """jsonargparse's complaint about a value, in our words."""
    one = r'key "(?P<key>[^"]+)":.*Expected an? (?P<kind>.+?)\. Got value: (?P<value>.*)'
    several = r'key "(?P<key>[^"]+)":.*Subtypes: \[(?P<kind>.+?)\].*Given value: (?P<value>.*)'
    match = re.search(one, message, re.DOTALL) or re.search(several, message, re.DOTALL)
    if match is None:
        return message
    kind = re.sub(r"<class '(\w+)'>|typing\.", lambda found: found[1] or "", match["kind"])
    kind = kind.replace(", NoneType", " or null")
    choices = re.fullmatch(r"Literal\[(.*)\]", kind)
    wanted = f"one of {choices[1]}" if choices else f"a value of type {kind}"
    return f"{match['key']} is {match['value']!r}, expected {wanted}"


def _packaged() -> Any:
    return resources.files("dsmixer.recipes")
