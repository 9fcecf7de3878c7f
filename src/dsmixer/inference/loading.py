"""From weights to what predicts with them."""

import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dsmixer.config import FIND_OBJECTS, InferenceConfig
from dsmixer.data.seeds import borrowed_generators
from dsmixer.engine.dense import build_dense, without_auxiliary
from dsmixer.engine.hardware import pick_device, pick_precision
from dsmixer.engine.model import build_model
from dsmixer.inference.classifier import Classifier
from dsmixer.inference.detector import ObjectDetector
from dsmixer.inference.segmenter import SemanticSegmenter
from dsmixer.weights import About, find, read_about


def load(
    weights: str | os.PathLike[str] | None = None,
    *,
    device: str = InferenceConfig.device,
    precision: str = InferenceConfig.precision,
) -> Any:
    """A trained network, ready to predict: a `Classifier`, a `SemanticSegmenter` or an `ObjectDetector`.

    Args:
        weights: a run folder, a .safetensors file that `dsmixer train` wrote, the name of packaged weights such as
            ``"dsm_zepto.tiny_imagenet_100"``; nothing for the packaged default.
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
    kind: Any = Classifier
    if about.head:
        kind = ObjectDetector if about.head in FIND_OBJECTS else SemanticSegmenter
    return kind(_network(about, path), about, path, chosen, pick_precision(precision, chosen))


def _network(about: About, path: Path) -> nn.Module:
    with borrowed_generators():
        network = network_of(about)
    try:
        network.load_state_dict(_tensors(path))
    except Exception as error:  # safetensors raises its own error, PyTorch a RuntimeError of many lines
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{path} does not hold the weights its header promises: {reason}") from error
    wrong = [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]
    if wrong:  # a detector would find nothing, and not say why
        raise ValueError(f"{path} holds numbers that are not finite, in {wrong[0]}")
    return network


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return without_auxiliary(load_file(path))


def network_of(about: About) -> nn.Module:
    """The network that ``about`` describes, with weights drawn at random."""
    if about.head is None:
        return build_model(
            about.architecture,
            about.model_kwargs,
            num_classes=about.num_classes,
            in_chans=about.in_chans,
            drop_path_rate=0.0,
            image_size=about.image_size,
            seed=0,
        )
    return build_dense(
        about.head,
        about.head_kwargs,
        about.architecture,
        about.model_kwargs,
        num_classes=about.num_classes,
        in_chans=about.in_chans,
        mean=about.mean,
        std=about.std,
        seed=0,
    )
