"""The numbers of a run for other programs: metrics.csv and TensorBoard events, both told from the history."""

import csv
import io
from pathlib import Path
from typing import Any

from dsmixer.engine.checkpoint import write_atomically
from dsmixer.engine.console import Console


def columns(history: list[dict[str, float]]) -> list[str]:
    """What the epochs have numbers of; one whose steps were all skipped has none of training."""
    return list(max(history, key=len, default={"epoch": 0}))


def write_metrics(path: Path, history: list[dict[str, float]]) -> None:
    """All epochs anew: what a killed run wrote after its last checkpoint neither stays nor doubles."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(history), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(path, text.getvalue())


class TensorBoard:
    """One event file a session; a resumed one hides what an interrupted one wrote past ``step``."""

    def __init__(self, folder: Path, step: int, console: Console) -> None:
        self.writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            console.say("no TensorBoard events: tensorboard is not installed (pip install 'dsmixer[tensorboard]')")
        else:
            self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def add(self, row: dict[str, float]) -> None:
        """The scalars of one epoch, at its step."""
        if self.writer:
            for name, value in row.items():
                if name not in ("epoch", "step"):
                    self.writer.add_scalar(name.replace("_", "/", 1), value, int(row["step"]))
            self.writer.flush()

    def close(self) -> None:
        """Write what is buffered."""
        if self.writer:
            self.writer.close()
