"""A trained classifier: names and probabilities."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsmixer.config import DataConfig, InferenceConfig, PredictConfig
from dsmixer.data.transforms import eval_transform
from dsmixer.engine.hardware import autocast
from dsmixer.inference.loaded import Loaded, inputs
from dsmixer.inference.origin import allows_outside, held_back
from dsmixer.inference.stream import Prediction, predict_stream
from dsmixer.weights import About


class Classifier(Loaded[Prediction]):
    """Images in, class names with probabilities out; see `Loaded`."""

    def __init__(self, network: nn.Module, about: About, path: Path, device: torch.device, precision: str) -> None:
        super().__init__(network, about, path, device, precision)
        self.transform = eval_transform(about.image_size, about.mean, about.std, about.crop_pct, about.interpolation)

    def __repr__(self) -> str:
        about, side = self.about, self.about.image_size
        return f"<{about.architecture}, {about.num_classes} classes, {about.in_chans}x{side}x{side}>"

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Transformed images (B, C, H, W), any device, to float32 logits (B, classes) on the CPU."""
        with autocast(self.precision, self.device):
            return self.network(images.to(self.device, non_blocking=True)).float().cpu()

    def stream(
        self,
        images: Any,
        *,
        top_k: int = PredictConfig.top_k,
        batch_size: int = PredictConfig.batch_size,
        workers: int = PredictConfig.workers,
        thumbnails: bool = False,
    ) -> Iterator[Prediction]:
        """Predictions one after the other, in the order of ``images`` and at most two batches ahead of the reader.

        Args:
            images: as for `predict`, or an iterator of them, which is read as it is needed.
            top_k: classes named for an image, the most probable first.
            batch_size: images the network sees at once.
            workers: threads that read and decode.
            thumbnails: keep a small square copy of each image in its prediction.

        An image that cannot be read gives a `Prediction` whose ``error`` says why; the others are not disturbed.
        """
        PredictConfig(top_k=top_k, batch_size=batch_size, workers=workers).check()
        return predict_stream(self, inputs(images), top_k, batch_size, workers, thumbnails)

    def evaluate(
        self, root: str | os.PathLike[str], *, split: str = "test", batch_size: int = InferenceConfig.batch_size
    ) -> dict[str, Any]:
        """All numbers of `dsmixer evaluate` on one split ("train", "val", "test" or "all") of a data set.

        Args:
            root: the folder of the data, or ``"digits"``.
            split: which part of it.
            batch_size: images the network sees at once.

        Returns:
            what evaluation.json holds; None stands for numbers without meaning.

        Raises:
            ValueError: for data that is not there, or has a class the model does not know.
            DataError: naming an image that cannot be read; `dsmixer evaluate` can leave some out.
        """
        from dsmixer.inference.evaluate import evaluate, open_split

        name, folder = ("digits", None) if root == "digits" else (DataConfig.name, os.fspath(root))
        chosen, *_ = open_split(name, folder, split, held_back(self.path), allows_outside(self.path))
        return evaluate(self, chosen, batch_size=batch_size)[0]
