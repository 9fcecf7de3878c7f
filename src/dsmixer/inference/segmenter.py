"""A trained segmenter: a class for every pixel."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsmixer.config import MasksConfig, PredictConfig
from dsmixer.data.transforms import Transform
from dsmixer.engine.hardware import autocast
from dsmixer.inference.loaded import Loaded, failure, opened
from dsmixer.inference.origin import held_back
from dsmixer.tasks.views import Views, look


@dataclass(frozen=True)
class Segmented:
    """What the network says about the pixels of one image, or why it could not see it."""

    name: str
    """The path or address, or "image 3" for the fourth of others."""
    mask: np.ndarray | None = field(default=None, repr=False, compare=False)
    """The class index of every pixel, int16 (H, W), H and W the image's own; None where there is an error."""
    shares: dict[str, float] = field(default_factory=dict)
    """Of every class in the image its share of the pixels, the largest first."""
    error: str | None = None
    """Why there is no prediction, in one sentence."""
    image: Image.Image | None = field(default=None, repr=False, compare=False)
    """What was seen, where asked for."""

    def to_dict(self) -> dict[str, Any]:
        """As a line of `dsmixer predict`."""
        if self.error:
            return {"image": self.name, "error": self.error}
        return {"image": self.name, "classes": {name: round(share, 6) for name, share in self.shares.items()}}

    def draw(self, image: Image.Image) -> Image.Image:
        """The image under the colors of its classes, at its own size; ``ValueError`` for an image of another size."""
        from dsmixer.tasks.mask_pictures import class_colors, overlay

        assert self.mask is not None
        return overlay(image, self.mask, class_colors(int(self.mask.max()) + 1))

    def index_image(self) -> Image.Image:
        """A palette image whose values are the class indices, in the same colors; at most 256 classes."""
        from dsmixer.tasks.mask_pictures import class_colors

        assert self.mask is not None
        if self.mask.max() > 255:
            raise ValueError(f"class {self.mask.max()} does not fit a palette image, which has 256 values")
        picture = Image.fromarray(self.mask.astype(np.uint8)).convert("P")
        picture.putpalette(class_colors(256).tobytes())
        return picture


class SemanticSegmenter(Loaded[Segmented]):
    """Images of any size in, the class of every pixel out; see `Loaded`."""

    def __repr__(self) -> str:
        about = self.about
        return f"<{about.architecture} with {about.head}, {about.num_classes} classes a pixel>"

    def views(self, **changed: Any) -> Views:
        """How the network looks at an image: whole, at the scale it was trained for, but for what is ``changed``."""
        return Views(short_side=self.about.short_side, **changed)

    @torch.inference_mode()
    def logits(self, images: Tensor, views: Views) -> Tensor:
        """Normalized images (B, C, H, W), any device, to float32 logits (B, classes, H, W) on the same device."""
        with autocast(self.precision, self.device):
            return look(self.network, images.to(self.device, non_blocking=True), views)

    def stream(
        self, images: Any, *, workers: int = PredictConfig.workers, keep_images: bool = False, **views: Any
    ) -> Iterator[Segmented]:
        """Answers one after the other, in the order of ``images``.

        Args:
            images: as for `predict`, or an iterator of them, which is read as it is needed.
            workers: threads that read and decode.
            keep_images: keep each image in its answer.
            views: ``window`` and ``stride`` (pixels of sliding windows), ``scales`` and ``flip``, as in
                `dsmixer.tasks.views.Views`; without any, the image is looked at whole.

        An image that cannot be read gives a `Segmented` whose ``error`` says why; the others are not disturbed.
        """
        chosen = self.views(**views)
        normalize = Transform([], self.about.mean, self.about.std)
        for name, image, error in opened(images, self.about.mode, workers):
            if image is None:
                yield Segmented(name, error=error)
                continue
            try:
                logits = self.logits(normalize(image)[None], chosen)
            except RuntimeError as error:
                yield Segmented(name, error=failure("{}x{} pixels".format(*image.size), error))
                continue
            if not logits.isfinite().all():
                yield Segmented(name, error="the network answers with numbers that are not finite")
                continue
            mask = logits.max(1).indices[0].short().cpu().numpy()
            yield Segmented(name, mask, self._shares(mask), None, image if keep_images else None)

    def _shares(self, mask: np.ndarray) -> dict[str, float]:
        counts = np.bincount(mask.ravel(), minlength=len(self.classes)) / mask.size
        return {self.classes[label]: float(counts[label]) for label in np.argsort(-counts) if counts[label]}

    def evaluate(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "test",
        sizes: Sequence[float] = (),
        ignore_index: int = MasksConfig.ignore_index,
        reduce_zero_label: bool = MasksConfig.reduce_zero_label,
        classes: Sequence[str] | None = MasksConfig.classes,
        palette: Sequence[Sequence[int]] | None = MasksConfig.palette,
        **views: Any,
    ) -> dict[str, Any]:
        """All numbers of `dsmixer evaluate` on one split ("train", "val" or "test") of a folder of images and masks.

        ``sizes`` are factors of the trained scale to be judged at as well, ``views`` another way to look, as in
        `stream`; the others say how the masks are read, see `dsmixer.data.masks.files.MaskCoding`. ``ValueError`` for
        data that is not there, or has a class the model does not know; ``DataError`` naming what cannot be read.
        """
        from dsmixer.data.masks.folders import open_masks
        from dsmixer.inference.evaluate_pixels import evaluate_pixels, looks

        coding = {"ignore_index": ignore_index, "reduce_zero_label": reduce_zero_label, "palette": palette}
        splits = open_masks(os.fspath(root), val_fraction=held_back(self.path), classes=classes, **coding)
        return evaluate_pixels(self, splits.part(split), looks(self, sizes, views))[0]
