"""A trained detector: objects, their boxes, and with Mask R-CNN their masks."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dsmixer.config import PredictConfig
from dsmixer.data.boxes.source import TOO_THIN_TEXT, is_too_thin
from dsmixer.data.boxes.transforms import to_tensor
from dsmixer.engine.hardware import autocast
from dsmixer.heads.detectors import KINDS
from dsmixer.inference.loaded import Loaded, failure, opened
from dsmixer.inference.origin import held_back
from dsmixer.tasks.found import Found, from_output, to_records


@dataclass(frozen=True)
class Detected:
    """What the network found in one image, or why it could not see it."""

    name: str
    """The path or address, or "image 3" for the fourth of others."""
    classes: list[str] = field(repr=False)
    """Names, by the labels of what was found."""
    found: Found | None = None
    """Boxes, labels, scores and masks in pixels of the image; None where there is an error."""
    error: str | None = None
    """Why there is no prediction, in one sentence."""
    image: Image.Image | None = field(default=None, repr=False, compare=False)
    """What was seen, where asked for."""

    def to_dict(self) -> dict[str, Any]:
        """As a line of `dsmixer predict`: a box is left, top, right, bottom in pixels, a mask COCO's RLE."""
        if self.found is None:
            return {"image": self.name, "error": self.error}
        return {"image": self.name, "objects": to_records(self.found, self.classes)}

    def draw(self, image: Image.Image) -> Image.Image:
        """A copy of the image, at its own size, with what was found drawn over it."""
        from dsmixer.tasks.drawing import draw_objects

        assert self.found is not None
        return draw_objects(image, self.found, self.classes)


class ObjectDetector(Loaded[Detected]):
    """Images of any size in, objects out; see `Loaded`."""

    def __repr__(self) -> str:
        about = self.about
        return f"<{about.architecture} with {about.head}, finds {about.num_classes} classes>"

    @torch.inference_mode()
    def detect(self, images: list[Tensor]) -> list[Found]:
        """Images (3, H, W) from 0 to 1, each of its own size, any device, to what was found in each."""
        with autocast(self.precision, self.device):
            outputs = self.network([image.to(self.device, non_blocking=True) for image in images])
        return [from_output(output, KINDS[str(self.about.head)].background) for output in outputs]

    @contextmanager
    def down_to(self, score: float) -> Iterator[None]:
        """Inside, what is less certain than AP asks for is found too, down to ``score``."""
        network: Any = self.network.get_submodule("network")
        judge = getattr(network, "roi_heads", network)
        before = judge.score_thresh
        judge.score_thresh = min(before, score)
        try:
            yield
        finally:
            judge.score_thresh = before

    @contextmanager
    def scaled(self, factor: float) -> Iterator[None]:
        """Inside, images are resized to sides ``factor`` times as long as trained."""
        transform: Any = self.network.get_submodule("network.transform")
        before = transform.min_size, transform.max_size
        transform.min_size = tuple(max(1, round(factor * side)) for side in before[0])
        transform.max_size = max(1, round(factor * before[1]))
        try:
            yield
        finally:
            transform.min_size, transform.max_size = before

    def stream(
        self,
        images: Any,
        *,
        min_score: float = PredictConfig.min_score,
        workers: int = PredictConfig.workers,
        keep_images: bool = False,
    ) -> Iterator[Detected]:
        """Answers one after the other, in the order of ``images``.

        Args:
            images: as for `predict`, or an iterator of them, which is read as it is needed.
            min_score: what is less certain is left out, 0 to 1.
            workers: threads that read and decode.
            keep_images: keep each image in its answer.

        An image that cannot be read gives a `Detected` whose ``error`` says why; the others are not disturbed.
        """
        for name, image, error in opened(images, self.about.mode, workers):
            refused = TOO_THIN_TEXT.format(*image.size) if image and is_too_thin(image.size) else error
            if image is None or refused:
                yield Detected(name, self.classes, error=refused)
                continue
            try:
                with self.down_to(min_score):
                    (found,) = self.detect([to_tensor(image)])
            except RuntimeError as error:
                yield Detected(name, self.classes, error=failure("{}x{} pixels".format(*image.size), error))
                continue
            yield Detected(name, self.classes, found.above(min_score), None, image if keep_images else None)

    def evaluate(
        self, root: str | os.PathLike[str], *, split: str = "test", sizes: Sequence[float] = ()
    ) -> dict[str, Any]:
        """All numbers of `dsmixer evaluate` on one split ("train", "val" or "test") in COCO's or Pascal VOC's layout.

        ``sizes`` are factors of the trained size to be judged at as well. ``ValueError`` for data that is not there, or
        has a class the model does not know; ``DataError`` naming an image that cannot be read.
        """
        from dsmixer.data.boxes.survey import open_boxes
        from dsmixer.inference.evaluate_objects import evaluate_objects

        chosen = open_boxes(os.fspath(root), held_back(self.path)).part(split)
        return evaluate_objects(self, chosen, sizes=sizes)[0]
