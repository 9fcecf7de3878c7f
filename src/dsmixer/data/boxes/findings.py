"""What is wrong with annotations, counted and named before anything is trained."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A kind of fault, and what is done about it; None where nothing can be done and training is refused."""

    text: str
    remedy: str | None = None


OUTSIDE_ROOT = Fault("image path that leads out of the data folder")
IMAGE_ID_TWICE = Fault("image id used twice")
UNKNOWN_IMAGE = Fault("object in an image that is not listed")
UNKNOWN_CATEGORY = Fault("object of a category that is not listed")
UNKNOWN_CLASS = Fault("object of a class that train does not have")
NOTHING_TO_FIND = Fault("split without any object")

# Files go missing and break on any disk: these count against data.max_bad, as do those that break later
UNUSED = "left out of evaluations, replaced in training"
MISSING = Fault("image file missing", UNUSED)
UNREADABLE = Fault("image file that is not an image", UNUSED)
OTHER_SIZE = Fault("image of another size than its annotation says", UNUSED)
TOO_THIN = Fault("image too thin to find anything in", UNUSED)
OBJECT_ID_TWICE = Fault("annotation id used twice", "both kept, numbered anew")
UNUSED_CLASS = Fault("class without any object", "kept; its score is n/a")
NO_OBJECTS = Fault("image without objects", "kept, trained on as background")
NO_BOX = Fault("object whose box is not four numbers", "dropped")
DEGENERATE = Fault("box without width or height", "dropped")
OUTSIDE_IMAGE = Fault("box outside its image", "dropped")
STICKS_OUT = Fault("box that sticks out of its image", "clipped for training")
NO_MASK = Fault("object without a mask", "neither trained on nor scored as a mask, and background to its image")
BROKEN_PART = Fault("part of a mask that cannot be drawn", "dropped, the other parts kept")
BROKEN_MASK = Fault("polygon or RLE that cannot be drawn", "left out where masks are trained or scored")


class Findings:
    """Faults of one split, each with the names of everything that has it."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.names: dict[Fault, list[str]] = {}

    def add(self, fault: Fault, name: str) -> None:
        """One more."""
        self.names.setdefault(fault, []).append(name)

    def count(self, fault: Fault) -> int:
        """How many were found."""
        return len(self.names.get(fault, ()))

    def lines(self, shown: int = 5) -> list[str]:
        """One line a fault, what stops training first; at most ``shown`` names each."""
        order = sorted(self.names, key=lambda fault: fault.remedy is not None)
        return [f"{self._sentence(fault, shown)}; {fault.remedy or 'must be corrected'}" for fault in order]

    def refuse(self) -> None:
        """``ValueError`` naming the first fault for which there is no remedy, if any; the report has the others."""
        stopping = [fault for fault in self.names if fault.remedy is None]
        if stopping:
            more = f", and {len(stopping) - 1} other kinds of fault" if len(stopping) > 1 else ""
            raise ValueError(f"{self.where}: {self._sentence(stopping[0], 3)}{more}; correct the annotations or files")

    def _sentence(self, fault: Fault, shown: int) -> str:
        names = self.names[fault]
        more = f" and {len(names) - shown} more" if len(names) > shown else ""
        return f"{fault.text}: {len(names)} ({', '.join(names[:shown])}{more})"
