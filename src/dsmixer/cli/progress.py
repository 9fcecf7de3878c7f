"""The progress bar of the verbs that use a model."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(total: int | None, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """A bar on standard error if that is a terminal; gives the function that moves it on by some images."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(compact=True)
    off = not (shown and sys.stderr.isatty())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=off) as progress:
        task = progress.add_task("", total=total)
        yield lambda images: progress.advance(task, images)
