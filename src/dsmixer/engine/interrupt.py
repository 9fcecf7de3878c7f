"""Ctrl-C and SIGTERM: the first asks, a Ctrl-C after it insists.

A second SIGTERM does not: cluster managers signal every process, and torchrun passes on what it received itself, so one
request may come twice; whoever insists has SIGKILL.
"""

import os
import signal
import sys
from types import FrameType


class Interrupt:
    """Within the context, a signal only sets ``signal``, which the loop reads between steps; a Ctrl-C after it ends."""

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            # no clean-up: files are only ever renamed into place, and workers notice that their parent is gone
            sys.stderr.write("\x1b[?25h\nstopped at once; the last checkpoint stands\n")
            sys.stderr.flush()
            os._exit(128 + number)
        self.signal = self.signal or number
