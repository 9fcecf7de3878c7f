"""From a decoded image and its mask to tensors, both moved alike.

Random parts draw from the global generators, which the loader seeds. A mask is a Pillow image of 32-bit integers here:
Pillow's nearest neighbour takes the middle of a pixel, as its bilinear filter does, so the two stay aligned.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import RandomPhotometricDistort

from dsmixer.data.masks.files import IGNORE
from dsmixer.data.transforms import Transform

BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
TRIES = 10  # of a crop that is not all one class, as in mmsegmentation
Pair = tuple[Image.Image, Image.Image]
Step = Callable[[Image.Image, Image.Image], Pair]


class PairTransform:
    """Pairs to pairs, then to float32 (C, H, W), normalized, and int64 (H, W)."""

    def __init__(self, steps: list[Step], mean: list[float], std: list[float]) -> None:
        self.steps, self.normalize = steps, Transform([], mean, std)

    def __call__(self, image: Image.Image, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        """One image and its mask (H, W)."""
        labels = Image.fromarray(mask.astype(np.int32))
        for step in self.steps:
            image, labels = step(image, labels)
        return self.normalize(image), torch.from_numpy(np.array(labels)).long()


def whole_pair(mean: list[float], std: list[float]) -> PairTransform:
    """For evaluation: everything, at its own size."""
    return PairTransform([], mean, std)


def random_pair(
    mean: list[float],
    std: list[float],
    *,
    crop_size: int,
    short_side: int | None,
    scale: tuple[float, float],
    most_of_one_class: float,
    hflip: float,
    photometric: float,
) -> PairTransform:
    """For training: random scale and crop, flip, colors.

    Args:
        mean: of the normalization, a channel.
        std: the same.
        crop_size: side of the square that is cut out; a smaller image is kept whole, and the batch pads it.
        short_side: pixels of the image's shorter side at scale 1; None for its own.
        scale: lowest and highest scale.
        most_of_one_class: greatest share of one class in the scored pixels of a crop; ten crops are tried. 1 for off.
        hflip: probability of a mirror image.
        photometric: probability of each distortion of brightness, contrast, saturation and hue; 0 for off.
    """
    steps: list[Step] = [
        partial(scaled_crop, side=crop_size, short_side=short_side, scale=scale, most_of_one_class=most_of_one_class)
    ]
    if hflip:
        steps.append(partial(flip_both, probability=hflip))
    if photometric:
        steps.append(partial(recolor, distort=Photometric(p=photometric)))
    return PairTransform(steps, mean, std)


def scaled_crop(
    image: Image.Image,
    mask: Image.Image,
    *,
    side: int,
    short_side: int | None,
    scale: tuple[float, float],
    most_of_one_class: float,
) -> Pair:
    """Resize by a random factor and cut a random window, in one step: only the window is ever computed."""
    factor = random.uniform(*scale) * (short_side or min(image.size)) / min(image.size)
    width, height = (max(1, round(length * factor)) for length in image.size)
    size = min(side, width), min(side, height)
    for _ in range(TRIES):
        left, top = random.randint(0, width - size[0]), random.randint(0, height - size[1])
        box = _in_source((left, top, left + size[0], top + size[1]), image.size, (width, height))
        window = mask.resize(size, NEAREST, box)
        if most_of_one_class >= 1 or _largest_share(window) <= most_of_one_class:
            break
    return image.resize(size, BILINEAR, box), window


def _in_source(
    box: tuple[int, int, int, int], source: tuple[int, int], scaled: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A window of the resized image, in the pixels of the image before."""
    left, top, right, bottom = (
        # rounding must not reach outside
        min(edge * source[axis % 2] / scaled[axis % 2], source[axis % 2])
        for axis, edge in enumerate(box)
    )
    return left, top, right, bottom


def _largest_share(mask: Image.Image) -> float:
    """Share of the most frequent class in the scored pixels; 1 where none is scored."""
    counts = np.bincount(np.asarray(mask).ravel() - IGNORE)[1:]
    return counts.max() / counts.sum() if counts.sum() else 1.0


def flip_both(image: Image.Image, mask: Image.Image, probability: float) -> Pair:
    """Left to right, sometimes."""
    return (ImageOps.mirror(image), ImageOps.mirror(mask)) if random.random() < probability else (image, mask)


class Photometric(RandomPhotometricDistort):
    """SSD's distortion of colors without its exchange of channels: skies stay blue."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """torchvision's draws."""
        return {**super().make_params(flat_inputs), "channel_permutation": None}


def recolor(image: Image.Image, mask: Image.Image, distort: Photometric) -> Pair:
    """The image in other colors, the mask as it was."""
    return distort(image), mask
