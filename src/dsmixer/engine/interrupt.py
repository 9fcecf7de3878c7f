"""Ctrl-C and SIGTERM: the first asks, the second insists."""

import os
import signal
import sys
from types import FrameType


class Interrupt:
    """Within the context, the first signal only sets ``signal``, which the loop reads between steps; a second ends."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """128 plus the signal, as shells report it."""
        return 128 + (self.signal or 0)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            # no clean-up: files are only ever renamed into place, and workers notice that their parent is gone
            sys.stderr.write("\x1b[?25h\nstopped at once; the last checkpoint stands\n")
            sys.stderr.flush()
            os._exit(128 + number)
        self.signal = number
