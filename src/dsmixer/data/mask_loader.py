"""Batches of images and masks; what a sample depends on is as in ``loader``."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from dsmixer.data.bad import Bad
from dsmixer.data.loader import Key
from dsmixer.data.mask_files import IGNORE
from dsmixer.data.mask_transforms import PairTransform
from dsmixer.data.masks import MaskSplit
from dsmixer.data.seeds import SAMPLE, borrowed_generators, counted_seed, seed_generators


class MaskBatch(NamedTuple):
    """Images (B, C, H, W), masks (B, H, W) of class indices and ``IGNORE``, rows (B,), and sizes (B, 2).

    A size is the height and width before padding at the bottom and on the right: with the mean color, and ``IGNORE``.
    """

    images: Tensor
    masks: Tensor
    rows: Tensor
    sizes: Tensor
    bad: tuple[Bad, ...] = ()  # unreadable ones; so far there are none, for one stops the run

    def to(self, device: torch.device, channels_last: bool = False) -> "MaskBatch":
        """On another device, without waiting for the copy; rows and sizes stay."""
        layout = torch.channels_last if channels_last else torch.preserve_format
        images = self.images.to(device, non_blocking=True, memory_format=layout)
        return self._replace(images=images, masks=self.masks.to(device, non_blocking=True))


class MaskedImages(Dataset):
    """A split as tensors; an item is asked for by (epoch, position). Batches are padded to ``least_side`` or more."""

    def __init__(self, split: MaskSplit, mode: str, transform: PairTransform, seed: int, least_side: int = 0) -> None:
        self.split, self.mode, self.transform, self.seed = split, mode, transform, seed
        self.least_side = least_side

    def __len__(self) -> int:
        return len(self.split.rows)

    def row(self, position: int) -> int:
        """The row of the source at a position of the split, or beyond it."""
        return int(self.split.rows[position % len(self.split.rows)])

    def __getitems__(self, keys: list[Key]) -> MaskBatch:
        """A whole batch at once."""
        rows = [self.row(position) for _, position in keys]
        pairs = []
        with borrowed_generators():
            for (epoch, position), row in zip(keys, rows, strict=True):
                seed_generators(counted_seed(self.seed, SAMPLE, epoch, position))
                pairs.append(self.transform(*self.split.source.pair(row, self.mode)))
        return _batch(pairs, rows, self.least_side)


def _batch(pairs: list[tuple[Tensor, Tensor]], rows: list[int], least_side: int) -> MaskBatch:
    sizes = torch.tensor([mask.shape for _, mask in pairs])
    height, width = sizes.amax(0).clamp(min=least_side).tolist()
    images = [pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image, _ in pairs]
    masks = [pad(mask, (0, width - mask.shape[1], 0, height - mask.shape[0]), value=IGNORE) for _, mask in pairs]
    return MaskBatch(torch.stack(images), torch.stack(masks), torch.tensor(rows), sizes)
