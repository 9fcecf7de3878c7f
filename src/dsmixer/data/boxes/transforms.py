"""From an image with objects to a detector's input, by torchvision's transforms v2: they move boxes and masks along.

Random parts draw from torch's global generator, which the loader seeds. The detector itself normalizes, and resizes
what it is asked to predict, so nothing here does.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from dsmixer.data.boxes.instance_masks import decode_mask
from dsmixer.data.boxes.source import Objects


def multi_scale(short_sides: list[int], longest: int, hflip: float, crop: list[int] | None = None) -> v2.Transform:
    """The short side to one of ``short_sides`` pixels, the long side at most ``longest``; on COCO 480 to 800, 1333.

    With ``crop``, its least and its longest side, every second image is cut before, as DETR (Carion et al. 2020) does:
    the short side to 400, 500 or 600, then a window of random height and width; on COCO 384 to 600.
    """
    resize: v2.Transform = v2.RandomShortestSize(short_sides, longest)
    if crop is not None:
        low, high = crop
        cut = v2.Compose([v2.RandomShortestSize([400, 500, 600]), Window(low, high), resize])
        resize = v2.RandomChoice([resize, cut])
    return _train([resize], hflip)


class Window(v2.Transform):
    """A random window whose height and width are, each by itself, from ``low`` to ``high`` pixels, or all there is."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, int]:
        """Where it lies."""
        height, width = v2.query_size(flat_inputs)
        tall, wide = (_draw(min(side, self.low), min(side, self.high)) for side in (height, width))
        return {"top": _draw(0, height - tall), "left": _draw(0, width - wide), "height": tall, "width": wide}

    def transform(self, inpt: Any, params: dict[str, int]) -> Any:
        """Cut it out."""
        return v2.functional.crop(inpt, **params)


def _draw(low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both possible."""
    return int(torch.randint(low, high + 1, ()))


def large_scale_jitter(side: int, scale: tuple[float, float], hflip: float, fill: list[float]) -> v2.Transform:
    """Zoom by a factor from ``scale`` about the size that fits ``side``, then a random ``side``² crop, padded.

    Ghiasi et al. 2021 (arXiv 2012.07177): 1024 pixels and (0.1, 2.0). ``fill`` is the padding's colour, from 0 to 1:
    the normalization's mean, which the network sees as zero.
    """
    colour: dict[Any, Any] = {Image.Image: tuple(round(255 * value) for value in fill), "others": 0}
    crop = v2.RandomCrop((side, side), pad_if_needed=True, fill=colour)
    return _train([v2.ScaleJitter((side, side), scale), crop], hflip)


def _train(resize: list[v2.Transform], hflip: float) -> v2.Transform:
    return v2.Compose(
        [
            v2.ClampBoundingBoxes(),  # before a padding hides where the image ends
            *resize,
            v2.RandomHorizontalFlip(hflip),
            v2.ClampBoundingBoxes(),
            # what a crop has cut to less than a pixel; torchvision's detectors refuse an empty box
            v2.SanitizeBoundingBoxes(),
        ]
    )


def to_tensor(image: Image.Image) -> Tensor:
    """RGB (3, H, W), float32 from 0 to 1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255


def to_target(objects: Objects, width: int, height: int, *, masks: bool, name: str) -> dict[str, Any]:
    """Boxes (N, 4), class indices (N,), and with ``masks`` uint8 (N, H, W), of what is to be trained on.

    Crowds are left out; with ``masks`` also what has none.
    """
    taken = [
        i
        for i, segmentation in enumerate(objects.segmentations)
        if not objects.crowd[i] and (segmentation is not None or not masks)
    ]
    boxes = torch.from_numpy(objects.boxes[taken].astype(np.float32)).reshape(-1, 4)
    target: dict[str, Any] = {
        # its arguments stand in __new__, where type checkers do not look
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),  # type: ignore[call-arg]
        "labels": torch.from_numpy(objects.labels[taken]),
    }
    if masks:
        drawn = [decode_mask(objects.segmentations[i], width, height, name) for i in taken]
        pixels = np.stack(drawn) if drawn else np.zeros((0, height, width), np.uint8)
        target["masks"] = tv_tensors.Mask(torch.from_numpy(pixels))
    return target
