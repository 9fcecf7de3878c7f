"""How a network looks at an image to label its pixels: whole, through windows, at several scales, mirrored."""

from dataclasses import dataclass
from itertools import product
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class Views:
    """What is looked at for one prediction; unless told otherwise, the whole image once, at its own size.

    Args:
        window: side of the square windows that slide over the image; None for the whole image.
        stride: pixels from one window to the next, at most ``window``; None for two thirds of it.
        short_side: pixels of the image's shorter side at scale 1; None for its own.
        scales: factors; the probabilities at all scales are averaged.
        flip: every scale once more, mirrored.
    """

    window: int | None = None
    stride: int | None = None
    short_side: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if self.window is not None and self.stride is None:
            object.__setattr__(self, "stride", round(2 * self.window / 3))
        if self.stride is not None and (self.window is None or not 0 < self.stride <= self.window):
            raise ValueError(
                f"window is {self.window} and stride {self.stride}; expected pixels, such as 512 and 341, or none"
            )
        if self.short_side is not None and self.short_side < 1:
            raise ValueError(f"short_side is {self.short_side}; expected pixels, or none for the image's own")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales are {self.scales}; expected positive factors, such as 0.75, 1, 1.25")


def look(model: nn.Module, images: Tensor, views: Views) -> Tensor:
    """Logits (B, classes, H, W) in float32 of images (B, C, H, W), at the images' size.

    Of one view they are the model's; where windows overlap, their mean. Of several views they are the logarithm of the
    mean probability, as published multi-scale figures have it.
    """
    mirrored = (False, True) if views.flip else (False,)
    each = [(scale, mirror) for scale in views.scales for mirror in mirrored]
    if len(each) == 1:
        return _one_view(model, images, views, *each[0])
    probability = torch.stack([_one_view(model, images, views, *view).softmax(1) for view in each]).mean(0)
    return probability.clamp(min=torch.finfo(torch.float32).tiny).log()


def _one_view(model: nn.Module, images: Tensor, views: Views, scale: float, mirror: bool) -> Tensor:
    height, width = images.shape[2:]
    factor = scale * (views.short_side or min(height, width)) / min(height, width)
    size = max(1, round(height * factor)), max(1, round(width * factor))
    if size != (height, width):
        images = interpolate(images, size, mode="bilinear", antialias=True)
    if mirror:
        images = images.flip(3)
    logits = _logits(model, images) if views.window is None else _through_windows(model, images, views)
    return at_size(logits.flip(3) if mirror else logits, height, width)


def _through_windows(model: nn.Module, images: Tensor, views: Views) -> Tensor:
    height, width = images.shape[2:]
    rows = _intervals(height, views.window or height, views.stride or height)
    columns = _intervals(width, views.window or width, views.stride or width)
    total, count = torch.empty(0), torch.zeros(height, width, device=images.device)
    for place in product(rows, columns):
        logits = _logits(model, images[:, :, *place])
        if not len(total):
            total = logits.new_zeros(*logits.shape[:2], height, width)
        total[:, :, *place] += logits
        count[place] += 1
    return total / count


def _intervals(length: int, window: int, stride: int) -> list[slice]:
    """Windows over a length; the last is moved back to end with it, and one is enough where all fits."""
    window = min(window, length)
    starts = [min(i * stride, length - window) for i in range(ceil((length - window) / stride) + 1)]
    return [slice(start, start + window) for start in starts]


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    return at_size(model(images).float(), *images.shape[2:])


def at_size(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits (B, classes, h, w) at another height and width."""
    if logits.shape[2:] == (height, width):
        return logits
    # antialiasing is for shrinking alone
    shrinking = height < logits.shape[2] or width < logits.shape[3]
    return interpolate(logits, (height, width), mode="bilinear", antialias=shrinking)
