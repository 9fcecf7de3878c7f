"""The `dsmixer` command: finds the verb, and imports only what it needs."""

import argparse
import difflib
import importlib
import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

VERBS = {
    "check": "decode every image of a data set, and say what is bad",
    "pack": "copy a data set into tar shards with an index",
    "train": "train a model from a recipe, or go on with an interrupted run",
    "evaluate": "measure a trained model on a data set",
    "predict": "name what is on images, with a trained model",
    "weights": "make a trained model half as large, to ship or to share it",
    "models": "list the models and what they cost",
}


class Parser(argparse.ArgumentParser):
    """The options of a verb; a mistake in them is a ``ValueError``, which `main` answers like any other."""

    @property
    def options(self) -> list[str]:
        """As they are written."""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        """In place of argparse's usage and exit."""
        if message.startswith("unrecognized arguments: "):
            unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
            hints = (did_you_mean(word, self.options) for word in unknown)
            message = "; ".join([message, *filter(None, hints)])
        raise ValueError(message)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    verb = arguments[0] if arguments else "--help"
    if isinstance(sys.stdout, io.TextIOWrapper):  # files have names that its encoding may lack
        sys.stdout.reconfigure(errors="backslashreplace")
    if verb in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if verb == "--version":
        import dsmixer

        print(f"dsmixer {dsmixer.__version__}")
        return 0
    if verb not in VERBS:
        hint = did_you_mean(verb, VERBS) or f"there are {', '.join(VERBS)}"
        return complain(f"unknown command {verb!r}; {hint} (dsmixer --help)")
    code = _run(verb, arguments[1:])
    if argv is None and verb == "predict" and code:
        _leave(code)
    return code


def _run(verb: str, arguments: list[str]) -> int:
    """A mistake of the user is one line on standard error and 2; what the operating system refuses is one and 1."""
    try:
        return importlib.import_module(f"dsmixer.cli.{verb}").main(arguments)
    except ValueError as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"{error.filename}: {error.strerror}" if error.filename else str(error), code=1)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _leave(code: int) -> NoReturn:
    """End the process as it is: Python's own exit waits for threads, and those of a slow address for minutes."""
    with suppress(OSError):
        print(end="", flush=True)
    os._exit(code)


def did_you_mean(word: str, words: Iterable[str], count: int = 1) -> str:
    """A question with the nearest of ``words``, at most ``count``; "" where none is near."""
    close = difflib.get_close_matches(word, list(words), count)
    return f"did you mean {' or '.join(close)}?" if close else ""


def help_text() -> str:
    """What `dsmixer --help` prints."""
    lines = [
        "usage: dsmixer COMMAND ...",
        "",
        "Dynamic Spectrum Mixer: train and use frequency-domain vision backbones.",
        "",
    ]
    lines += [f"  {verb:<8} {meaning}" for verb, meaning in VERBS.items()]
    lines += ["", "  --version", "  COMMAND --help", "", "Try: dsmixer train --recipe digits"]
    return "\n".join(lines)


def complain(message: str, code: int = 2) -> int:
    """One line on standard error; the traceback too, inside an ``except`` and with DSMIXER_DEBUG=1."""
    if os.environ.get("DSMIXER_DEBUG") == "1" and sys.exc_info()[0]:
        import traceback

        traceback.print_exc()
    rank = os.environ.get("RANK", "0")  # one of several processes says which it is
    print("dsmixer: error: " + (f"rank {rank}: " * (rank != "0")) + " ".join(message.split()), file=sys.stderr)
    return code
