"""From a decoded image to the network's tensor. Random parts draw from the global generators, which the loader seeds.

The geometric steps call Pillow directly: for small images torchvision's dispatch costs several times the work.
"""

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

BICUBIC, BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
RESAMPLING = {"bicubic": BICUBIC, "bilinear": BILINEAR}
Picture = Callable[[Image.Image], Image.Image]
Tensors = Callable[[Tensor], Tensor]


class Transform:
    """Pictures to pictures, then to float32 (C, H, W), from 0 to 1, minus mean, by std; then ``last``."""

    def __init__(
        self, pictures: list[Picture], mean: list[float], std: list[float], last: Tensors | None = None
    ) -> None:
        self.pictures, self.last = pictures, last
        self.factor = torch.tensor([1 / 255 / value for value in std], dtype=torch.float32).view(-1, 1, 1)
        self.shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32).view(-1, 1, 1)

    def __call__(self, image: Image.Image) -> Tensor:
        """One image."""
        for step in self.pictures:
            image = step(image)
        # channel by channel and in place: a quarter of the time that transposing takes, and the same bits
        planes = np.stack([np.asarray(plane) for plane in image.split()])
        pixels = torch.from_numpy(planes).to(torch.float32).mul_(self.factor).sub_(self.shift)
        return self.last(pixels) if self.last else pixels


def eval_transform(
    image_size: int, mean: list[float], std: list[float], crop_pct: float = 1.0, interpolation: str = "bicubic"
) -> Transform:
    """Middle square of ``crop_pct`` of the shorter side, resized to ``image_size``, normalized."""
    return Transform([_middle(image_size, crop_pct, interpolation)], mean, std)


def train_transform(
    image_size: int,
    mean: list[float],
    std: list[float],
    *,
    crop_pct: float,
    interpolation: str,
    hflip: float,
    vflip: float,
    crop_padding: int,
    crop_scale: float,
    crop_ratio: float,
    crop_interpolation: str,
    rotate: float,
    translate: float,
    scale: float,
    rand_augment: str | None,
    color_jitter: float,
    erase: float,
    erase_count: int,
    erase_mode: str,
) -> Transform:
    """The same as ``eval_transform`` with the random parts that are not off; see ``DataConfig`` for their units."""
    pictures: list[Picture] = []
    if crop_scale < 1:
        pictures.append(_resized_crop(image_size, crop_scale, crop_ratio, crop_interpolation))
    else:
        pictures.append(_middle(image_size, crop_pct, interpolation))
    if rotate or translate or scale:
        pictures.append(partial(affine, rotate=rotate, translate=translate, scale=scale))
    if crop_padding:
        pictures.append(partial(shifted_crop, padding=crop_padding))
    if hflip:
        pictures.append(partial(flip, probability=hflip))
    if vflip:
        pictures.append(partial(flip, probability=vflip, upside_down=True))
    if rand_augment:
        from timm.data.auto_augment import rand_augment_transform

        fill = tuple(round(255 * value) for value in mean)
        try:
            augment = rand_augment_transform(rand_augment, {"translate_const": image_size // 3, "img_mean": fill})
            pictures.append(keeping_a_bit(augment))
        except (AssertionError, ValueError) as error:
            raise ValueError(f"data.rand_augment is {rand_augment!r}; try rand-m9-mstd0.5-inc1") from error
    if color_jitter:
        from torchvision.transforms import ColorJitter

        pictures.append(ColorJitter(color_jitter, color_jitter, color_jitter))
    last = None
    if erase:
        from timm.data.random_erasing import RandomErasing

        last = RandomErasing(erase, mode=erase_mode, max_count=erase_count, device="cpu")
    return Transform(pictures, mean, std, last)


def _middle(side: int, crop_pct: float, interpolation: str) -> Picture:
    return partial(square, side=side, share=crop_pct, resampling=RESAMPLING[interpolation])


def keeping_a_bit(augment: Any) -> Any:
    """timm's RandAugment asks for 0 bits at its highest magnitude, which Pillow from 13 on refuses; 1 is the least."""
    for operation in augment.ops:
        if operation.name.startswith("Posterize"):
            operation.aug_fn = posterize
    return augment


def posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keep the highest 1 to 8 bits of each channel."""
    return ImageOps.posterize(image, min(max(bits, 1), 8))


def _resized_crop(side: int, scale: float, ratio: float, interpolation: str) -> Picture:
    from torchvision.transforms import InterpolationMode, RandomChoice, RandomResizedCrop

    modes = ("bicubic", "bilinear") if interpolation == "random" else (interpolation,)
    crops = [
        RandomResizedCrop(side, (scale, 1.0), (1 / ratio, ratio), interpolation=InterpolationMode(mode))
        for mode in modes
    ]
    return RandomChoice(crops) if len(crops) > 1 else crops[0]


def square(image: Image.Image, side: int, share: float, resampling: Image.Resampling) -> Image.Image:
    """Middle square, ``share`` of the shorter side, resized; untouched where it already fits."""
    if image.size == (side, side) and share == 1:
        return image
    return ImageOps.fit(image, (side, side), resampling, bleed=(1 - share) / 2)


def flip(image: Image.Image, probability: float, upside_down: bool = False) -> Image.Image:
    """Left to right, or upside down, sometimes."""
    if random.random() >= probability:
        return image
    return ImageOps.flip(image) if upside_down else ImageOps.mirror(image)


def shifted_crop(image: Image.Image, padding: int) -> Image.Image:
    """A random window of the image's size in the image with a black border."""
    left, top = random.randint(0, 2 * padding), random.randint(0, 2 * padding)
    return ImageOps.expand(image, padding).crop((left, top, left + image.width, top + image.height))


def affine(image: Image.Image, rotate: float, translate: float, scale: float) -> Image.Image:
    """Random rotation (degrees), zoom and shift (shares) about the middle; what comes from outside is black."""
    width, height = image.size
    angle = math.radians(random.uniform(-rotate, rotate))
    zoom = random.uniform(1 - scale, 1 + scale)
    right, down = random.uniform(-translate, translate) * width, random.uniform(-translate, translate) * height
    # Pillow asks for the inverse: where in the old image each new pixel comes from
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    x, y = width / 2 + right, height / 2 + down
    back = (cos, sin, width / 2 - cos * x - sin * y, -sin, cos, height / 2 + sin * x - cos * y)
    return image.transform(image.size, Image.Transform.AFFINE, back, BILINEAR)
