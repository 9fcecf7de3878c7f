"""What a person sees while training."""

import sys
import time
from types import TracebackType

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Console:
    """Lines on standard output, warnings on standard error, and a progress bar where standard output is a terminal.

    A ``quiet`` one, of a process beside the main one, shows nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.out = RichConsole(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=quiet)
        self.shown = 0.0
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            console=self.out,
            refresh_per_second=4,
            transient=True,
            disable=quiet or not self.out.is_terminal or self.out.is_dumb_terminal,
        )

    def say(self, line: str) -> None:
        """A line of news."""
        self.out.print(line)

    def warn(self, line: str) -> None:
        """A line on standard error."""
        if not self.quiet:
            print(f"warning: {line}", file=sys.stderr, flush=True)

    def start(self, steps: int, done: int) -> "Console":
        """Prepare the bar; use as a context."""
        self.bar = self.progress.add_task("", total=steps, completed=done, epoch="", text="")
        return self

    def __enter__(self) -> "Console":
        self.progress.start()
        return self

    def __exit__(self, _a: type[BaseException] | None, _b: BaseException | None, _c: TracebackType | None) -> None:
        self.progress.stop()

    def wants_news(self) -> bool:
        """Whether a new bar would be seen: there is a terminal, and the last one is a quarter of a second old."""
        return not self.progress.disable and time.monotonic() - self.shown > 0.25

    def show(self, step: int, epoch: str, means: dict[str, float], images_per_second: float) -> None:
        """Update the bar."""
        self.shown = time.monotonic()
        parts = [f"{name} {value:.4f}" for name, value in means.items()] + [f"{images_per_second:,.0f} images/s"]
        self.progress.update(self.bar, completed=step, epoch=epoch, text="  ".join(parts))
