"""From inputs to predictions, decoded ahead of the network, with memory that does not grow with their number."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from dsmixer.data.ahead import ahead
from dsmixer.inference.inputs import Input, image_of
from dsmixer.inference.loaded import failure

if TYPE_CHECKING:
    from dsmixer.inference.classifier import Classifier


@dataclass(frozen=True)
class Prediction:
    """What the network says about one image, or why it could not see it."""

    name: str
    """The path or address, or "image 3" for the fourth of others."""
    top: list[tuple[str, float]]
    """Class names and probabilities, the most probable first; empty where there is an error."""
    error: str | None = None
    """Why there is no prediction, in one sentence."""
    thumbnail: Image.Image | None = field(default=None, repr=False, compare=False)
    """A small square copy, where asked for."""

    def to_dict(self) -> dict[str, Any]:
        """As a line of `dsmixer predict`."""
        if self.error:
            return {"image": self.name, "error": self.error}
        return {"image": self.name, "top": [{"class": name, "probability": round(p, 6)} for name, p in self.top]}


class Ready(NamedTuple):
    """An image decoded and transformed, (C, H, W), or the reason why not."""

    name: str
    pixels: Tensor | None
    error: str | None
    thumbnail: Image.Image | None


def predict_stream(
    model: "Classifier", inputs: Iterable[Input], top_k: int, batch_size: int, workers: int, thumbnails: bool
) -> Iterator[Prediction]:
    """See `dsmixer.inference.classifier.Classifier.stream`."""

    def prepare(given: Input) -> Ready:
        try:
            image = image_of(given, model.about.mode)
            return Ready(given.name, model.transform(image), None, _thumbnail(image) if thumbnails else None)
        except ValueError as error:
            return Ready(given.name, None, " ".join(str(error).split()), None)

    # while the network sees one batch, the threads fill the next
    ready = ahead(prepare, inputs, workers, 2 * batch_size)
    while batch := list(islice(ready, batch_size)):
        yield from answer(model, batch, top_k)


def answer(model: "Classifier", batch: list[Ready], top_k: int) -> list[Prediction]:
    """Predictions of a batch, in its order; what could not be read keeps its place."""
    pixels = [ready.pixels for ready in batch if ready.pixels is not None]
    rows, failed = iter(torch.empty(0)), None
    try:
        if pixels:
            rows = iter(model.logits(torch.stack(pixels)).softmax(1))
    except RuntimeError as problem:
        failed = failure(f"a batch of {len(pixels)}", problem)
    found = []
    for ready in batch:
        top, error = [], ready.error or failed
        if error is None:
            probabilities = next(rows)
            if probabilities.isfinite().all():
                values, places = probabilities.topk(min(top_k, len(probabilities)))
                top = [(model.classes[i], p) for i, p in zip(places.tolist(), values.tolist(), strict=True)]
            else:
                error = "the network answers with numbers that are not finite"
        found.append(Prediction(ready.name, top, error, ready.thumbnail))
    return found


def _thumbnail(image: Image.Image) -> Image.Image:
    from dsmixer.tasks.pictures import thumbnail

    return thumbnail(image)
