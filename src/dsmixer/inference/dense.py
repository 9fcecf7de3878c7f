"""What judging classifiers, segmenters and detectors has in common."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dsmixer.data.bad import BadFiles, DataError
from dsmixer.data.loader import Feed, in_order
from dsmixer.data.names import first_line
from dsmixer.data.samples import Samples
from dsmixer.engine.hardware import describe
from dsmixer.inference.loaded import Loaded

ABSENT = -2  # a class of the data that the weights do not know


def places(theirs: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Of each class of the data its place among the weights' classes, matched by name, or ``ABSENT``."""
    known = {name: place for place, name in enumerate(classes)}
    return [known.get(name, ABSENT) for name in theirs]


def require_known(label: int, theirs: Sequence[str], classes: Sequence[str]) -> None:
    """``ValueError`` naming a class of the data that the weights do not know."""
    if theirs[label] not in classes:
        few = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        raise ValueError(f"the images have the class {theirs[label]!r}, which the weights do not know, only {few}")


class Stopwatch:
    """Images a second, all in all and of the network alone (without its first, slower call)."""

    def __init__(self) -> None:
        self.begin, self.calls = time.perf_counter(), list[float]()
        self.images = 0

    def time(self, call: Callable[[], Any]) -> Any:
        """What ``call`` returns for one image."""
        start = time.perf_counter()
        answer = call()
        self.calls.append(time.perf_counter() - start)
        self.images += 1
        return answer

    def speed(self) -> dict[str, float]:
        """Rounded to a tenth."""
        calls = self.calls[1:] or self.calls
        total = time.perf_counter() - self.begin
        return {
            "images_per_second": round(self.images / total, 1),
            "network_images_per_second": round(len(calls) / sum(calls), 1),
        }


def one_by_one(
    samples: Samples, workers: int, worker_timeout: float, bad: BadFiles | None, advance: Callable[[int], object]
) -> Iterator[Any]:
    """Batches of one image, for images differ in size; ``advance`` is told of each that was judged.

    Images that cannot be read are passed over; ``DataError`` where none can.
    """
    judged = 0
    for batch in Feed(samples, in_order(len(samples), 1), workers, worker_timeout, bad):
        if len(batch.rows):
            yield batch
            advance(1)
            judged += 1
    if not judged:
        raise DataError("none of the images can be read")


def conditions(model: Loaded, workers: int) -> dict[str, Any]:
    """What the numbers were measured on."""
    return {**describe(model.device, model.precision), "batch_size": 1, "workers": workers}


def number(value: float) -> float | None:
    """A plain value; None for not a number."""
    return None if math.isnan(value) else float(value)


def measured(judge: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The row that ``judge`` returns; or why there is none, so that a size too large takes no other row along."""
    try:
        return judge()
    except DataError:
        raise
    except (RuntimeError, ValueError) as error:  # PyTorch raises the first where memory is too small
        return {"error": first_line(error)}
