"""A trained network with all that is needed to use it."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsmixer.config import DataConfig, InferenceConfig, PredictConfig
from dsmixer.data.seeds import borrowed_generators
from dsmixer.data.transforms import eval_transform
from dsmixer.engine.hardware import autocast, pick_device, pick_precision
from dsmixer.engine.model import build_model
from dsmixer.inference.inputs import expand
from dsmixer.inference.stream import Prediction, predict_stream
from dsmixer.weights import About, find, read_about


def load(
    weights: str | os.PathLike[str] | None = None,
    *,
    device: str = InferenceConfig.device,
    precision: str = InferenceConfig.precision,
) -> "Classifier":
    """A trained classifier, ready to predict.

    Args:
        weights: a run folder, a .safetensors file that `dsmixer train` wrote, the name of packaged weights such as
            ``"dsm_atto.tiny_imagenet_100"``; nothing for the packaged default.
        device: ``"auto"`` takes a GPU where there is one; or ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: ``"auto"`` is bfloat16 where the hardware multiplies it; or ``"float32"``, ``"bfloat16"``,
            ``"float16"``.

    Raises:
        ValueError: saying what ``weights`` is instead: no run, not finished, another format, damaged, without class
            names; or that the machine has no such device.
    """
    path = find(weights)
    about = read_about(path)
    chosen = pick_device(device, "--device")
    return Classifier(_network(about, path), about, path, chosen, pick_precision(precision, chosen))


class Classifier:
    """Images in, class names with probabilities out; `load` makes one.

    Attributes:
        classes: the names, in the order of the network's outputs.
        about: architecture and preprocessing, as the weights' header says.
        network: the ``torch.nn.Module``, in evaluation mode.
    """

    def __init__(self, network: nn.Module, about: About, path: Path, device: torch.device, precision: str) -> None:
        self.network = network.to(device).eval()
        self.about, self.path, self.device, self.precision = about, path, device, precision
        self.classes = about.class_names
        self.transform = eval_transform(about.image_size, about.mean, about.std, about.crop_pct, about.interpolation)

    def __repr__(self) -> str:
        about, side = self.about, self.about.image_size
        return f"<{about.architecture}, {about.num_classes} classes, {about.in_chans}x{side}x{side}>"

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Transformed images (B, C, H, W), any device, to float32 logits (B, classes) on the CPU."""
        with autocast(self.precision, self.device):
            return self.network(images.to(self.device, non_blocking=True)).float().cpu()

    def predict(self, images: Any, **options: Any) -> list[Prediction]:
        """Class names and probabilities of some images.

        Args:
            images: one image or several: paths, folders (searched for images), patterns such as ``"*.jpg"``, http(s)
                addresses, encoded bytes, Pillow images, arrays (H, W) or (H, W, 3) of uint8.
            options: ``top_k``, ``batch_size`` and ``workers``, as in `stream`.

        Returns:
            a `Prediction` for each image, in their order.

        Raises:
            ValueError: for the first that cannot be read, naming it; `stream` goes on instead.
        """
        found = []
        for prediction in self.stream(images, **options):
            if prediction.error:
                raise ValueError(f"{prediction.name}: {prediction.error}")
            found.append(prediction)
        return found

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
        several = isinstance(images, Iterable) and not isinstance(images, str | bytes | os.PathLike)
        alone = not several or hasattr(images, "__array__")  # an array, and in some versions an image, is iterable
        return predict_stream(self, expand([images] if alone else images), top_k, batch_size, workers, thumbnails)

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
        chosen, *_ = open_split(name, folder, split, DataConfig.val_fraction)
        return evaluate(self, chosen, batch_size=batch_size)[0]


def _network(about: About, path: Path) -> nn.Module:
    from safetensors.torch import load_file

    with borrowed_generators():
        network = build_model(
            about.architecture,
            about.model_kwargs,
            num_classes=about.num_classes,
            in_chans=about.in_chans,
            drop_path_rate=0.0,
            image_size=about.image_size,
            seed=0,
        )
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:  # safetensors raises its own error, PyTorch a RuntimeError of many lines
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{path} does not hold the weights its header promises: {reason}") from error
    return network
