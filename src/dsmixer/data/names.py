"""Names of files as text that can be written anywhere, and complaints: with the name, and in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def spelt_out(text: str) -> str:
    r"""Text with ``\udcff`` spelt out for each byte of a file's name that is not UTF-8.

    Python keeps such bytes as lone surrogates, which no UTF-8 file and no font has.
    """
    return text.encode(errors="backslashreplace").decode()


def first_line(error: Exception) -> str:
    """Of its message; its type where it has none, as a bare assert."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def named(path: Path) -> Iterator[Path]:
    """An ``OSError`` from within names ``path``: where a disk is full, the system does not say which file it was."""
    try:
        yield path
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
