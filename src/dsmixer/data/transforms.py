"""From a decoded image to the tensor the network sees. Random parts draw from the global generators, seeded by the loader."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as tv

BICUBIC, BILINEAR = InterpolationMode.BICUBIC, InterpolationMode.BILINEAR
Transform = Callable[[Image.Image], Tensor]


class ToNormalized(nn.Module):
    """A PIL image to float32 (C, H, W): scaled to 0 to 1, mean subtracted, divided by the standard deviation."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.scale = torch.tensor(1 / 255 / np.array(std), dtype=torch.float32).view(-1, 1, 1)
        self.shift = torch.tensor(np.array(mean) / np.array(std), dtype=torch.float32).view(-1, 1, 1)

    def forward(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.array(image))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return pixels.to(torch.float32) * self.scale - self.shift


def eval_transform(image_size: int, mean: list[float], std: list[float]) -> Transform:
    """Shorter side to ``image_size``, middle square, normalized."""
    return tv.Compose([tv.Resize(image_size, BICUBIC), tv.CenterCrop(image_size), ToNormalized(mean, std)])


def train_transform(
    image_size: int,
    mean: list[float],
    std: list[float],
    hflip: float,
    crop_padding: int,
    crop_scale: float,
    rotate: float,
    translate: float,
    scale: float,
    rand_augment: str | None,
    erase: float,
) -> Transform:
    """The same as ``eval_transform`` with the random parts that are not off; see ``DataConfig`` for their units."""
    steps: list[nn.Module | Callable] = []
    if crop_scale < 1:
        steps.append(tv.RandomResizedCrop(image_size, (crop_scale, 1.0), interpolation=BICUBIC))
    else:
        steps += [tv.Resize(image_size, BICUBIC), tv.CenterCrop(image_size)]
    if rotate or translate or scale:
        zoom = (1 - scale, 1 + scale) if scale else None
        steps.append(tv.RandomAffine(rotate, (translate, translate), zoom, interpolation=BILINEAR))
    if crop_padding:
        steps.append(tv.RandomCrop(image_size, crop_padding))
    if hflip:
        steps.append(tv.RandomHorizontalFlip(hflip))
    if rand_augment:
        from timm.data.auto_augment import rand_augment_transform

        fill = tuple(round(255 * value) for value in mean)
        steps.append(rand_augment_transform(rand_augment, {"translate_const": image_size // 3, "img_mean": fill}))
    steps.append(ToNormalized(mean, std))
    if erase:
        from timm.data.random_erasing import RandomErasing

        steps.append(RandomErasing(erase, mode="pixel", device="cpu"))
    return tv.Compose(steps)
