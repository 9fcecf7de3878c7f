"""The two data sets as arrays in memory, and the batches every run sees.

Images are decoded once into a cache folder. Which images a run of N uses, their order and their augmentation depend on
the seed alone, never on the mixer.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dsmixer.data.parquet import ParquetImages, open_parquet
from dsmixer.spectral import dct2, idct2

FOLDERS = {"cifar10": "cifar10", "tiny": "tiny-imagenet-100"}
CLASSES = {"cifar10": 10, "tiny": 100}
REPOSITORY = Path(__file__).resolve().parents[2]


def _decoded(dataset: str, split: str) -> tuple[Tensor, Tensor]:
    """uint8 images (N, 3, H, W) and their labels."""
    data = Path(os.environ.get("DSMIXER_DATA", REPOSITORY.parent / "shared/data"))
    images_file, labels_file = (_cache() / f"{dataset}-{split}-{what}.npy" for what in ("images", "labels"))
    if not labels_file.exists():
        splits, _ = open_parquet(str(data / FOLDERS[dataset]))
        part = splits["train"] if split == "train" else splits.get("test", splits.get("val"))
        assert isinstance(part, ParquetImages)
        pixels = np.stack([np.asarray(part.image(row, "RGB")) for row in range(len(part.labels))])
        _save(images_file, pixels.transpose(0, 3, 1, 2))
        _save(labels_file, part.labels)
    return torch.from_numpy(np.load(images_file)), torch.from_numpy(np.load(labels_file))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dsmixer-studies"


def _save(file: Path, array: np.ndarray) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part_file = file.with_suffix(f".{os.getpid()}.npy")
    np.save(part_file, np.ascontiguousarray(array))
    part_file.rename(file)


def _varied(dataset: str, split: str) -> tuple[Tensor, Tensor]:
    """The same, every image as another lens, light and sensor took it, once and for all."""
    pixels, labels = _decoded(dataset, split)
    file = _cache() / f"{dataset}-{split}-varied.npy"
    if not file.exists():
        generator = torch.Generator().manual_seed(("train", "test").index(split))
        _save(file, torch.cat([vary(part, generator) for part in pixels.split(1000)]).numpy())
    return torch.from_numpy(np.load(file)), labels


def vary(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 images (N, 3, H, W), each with a blur, a contrast and a noise of its own.

    The blur is Gaussian, of 0 to 1/32 of the side; the contrast around the image's mean 1/4 to 1, even in its
    logarithm; the noise white, of 0 to 8 grey levels.
    """
    blur, contrast, noise = torch.rand(3, len(pixels), 1, 1, 1, generator=generator)
    s_BUVC = dct2(pixels.permute(0, 2, 3, 1).float())
    omega = 2 * torch.pi * radius(*s_BUVC.shape[1:3], pixels.device)[..., None]
    passed = torch.exp(-0.5 * (blur * pixels.shape[-1] / 32 * omega) ** 2) * 4 ** (contrast - 1)
    passed[:, 0, 0] = 1
    x = idct2(s_BUVC * passed).permute(0, 3, 1, 2) + 8 * noise * torch.randn(pixels.shape, generator=generator)
    return x.round().clamp(0, 255).byte()


def radius(height: int, width: int, device: torch.device) -> Tensor:
    """(U, V): distance from DC in cycles per sample."""
    u, v = (torch.arange(n, device=device) / (2 * n) for n in (height, width))
    return (u[:, None] ** 2 + v**2).sqrt()


def subset(labels: Tensor, num_images: int) -> Tensor:
    """Rows of the same ``num_images`` images for every run, the classes balanced as in the whole set."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    keep = torch.linspace(0, len(labels) - 1, num_images).round().long()
    return by_class[keep]


class Images:
    """Normalised float32 batches on a device."""

    def __init__(
        self, dataset: str, split: str, device: str, num_images: int | None = None, varied: bool = False
    ) -> None:
        pixels, labels = (_varied if varied else _decoded)(dataset, split)
        rows = torch.arange(len(labels)) if num_images is None else subset(labels, num_images)
        self.pixels, self.labels = pixels[rows].to(device), labels[rows].to(device)
        mean, std = (torch.tensor(values, device=device) * 255 for values in ((0.48, 0.46, 0.42), (0.25, 0.24, 0.26)))
        self.mean, self.std = mean[:, None, None], std[:, None, None]

    def __len__(self) -> int:
        return len(self.labels)

    def draws(self, batch_size: int, seed: int, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of every batch: the rows (steps, batch), where each is cropped (steps, 2, batch), whether it is mirrored."""
        generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        rows = torch.randperm(len(self), generator=generator)[: len(self) // batch_size * batch_size]
        border = self.pixels.shape[-1] // 8
        shifts, mirrored = [], []
        for _ in range(len(rows) // batch_size):
            shifts.append(torch.randint(0, 2 * border + 1, (2, batch_size), generator=generator))
            mirrored.append(torch.rand(batch_size, generator=generator) < 0.5)
        return rows.view(-1, batch_size), torch.stack(shifts), torch.stack(mirrored)

    def batch(self, rows: Tensor, shift: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
        """One batch and its labels, cropped from a reflected border of 1/8."""
        cropped = _crop(self.pixels[rows], shift, mirrored, self.pixels.shape[-1] // 8)
        return self._normalised(cropped), self.labels[rows]

    def epoch(self, batch_size: int, seed: int, epoch: int):
        """Shuffled batches, each image mirrored with probability 1/2 and cropped from a reflected border of 1/8."""
        for draw in zip(*self.draws(batch_size, seed, epoch), strict=True):
            yield self.batch(*(part.to(self.labels.device) for part in draw))

    def in_order(self, batch_size: int):
        """All images once, as they are."""
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield self._normalised(self.pixels[rows]), self.labels[rows]

    def _normalised(self, pixels: Tensor) -> Tensor:
        return (pixels.float() - self.mean) / self.std


def _crop(pixels: Tensor, shift: Tensor, mirrored: Tensor, border: int) -> Tensor:
    """Shift each image by -border … border, what enters from outside being its mirror image."""
    side = pixels.shape[-1]
    position = torch.arange(side, device=pixels.device)
    y, x = (position + s[:, None] - border for s in shift)
    x = torch.where(mirrored[:, None], x.flip(1), x)
    y, x = (side - 1 - (side - 1 - i.abs()).abs() for i in (y, x))
    return pixels[torch.arange(len(pixels), device=pixels.device)[:, None, None], :, y[:, :, None], x[:, None]].permute(
        0, 3, 1, 2
    )
