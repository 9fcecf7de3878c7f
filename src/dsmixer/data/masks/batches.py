"""Batches of images and masks."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from dsmixer.data.bad import Bad
from dsmixer.data.masks.files import IGNORE
from dsmixer.data.masks.folders import MaskSplit
from dsmixer.data.masks.transforms import PairTransform
from dsmixer.data.samples import Samples


class MaskBatch(NamedTuple):
    """Images (B, C, H, W), masks (B, H, W) of class indices and ``IGNORE``, rows (B,), and sizes (B, 2).

    A size is the height and width before padding at the bottom and on the right: with the mean color, and ``IGNORE``.
    """

    images: Tensor
    masks: Tensor
    rows: Tensor
    sizes: Tensor
    bad: tuple[Bad, ...] = ()  # that cannot be read

    def to(self, device: torch.device, channels_last: bool = False) -> "MaskBatch":
        """On another device, without waiting for the copy; rows and sizes stay."""
        layout = torch.channels_last if channels_last else torch.preserve_format
        images = self.images.to(device, non_blocking=True, memory_format=layout)
        return self._replace(images=images, masks=self.masks.to(device, non_blocking=True))

    def pack(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {"images": self.images, "masks": self.masks, "rows": self.rows, "sizes": self.sizes}

    @classmethod
    def unpack(cls, tensors: dict[str, Tensor]) -> "MaskBatch":
        """The batch that was packed."""
        return cls(tensors["images"], tensors["masks"], tensors["rows"], tensors["sizes"])


class MaskedImages(Samples[MaskBatch]):
    """A split as tensors. Batches are padded to ``least_side`` or more."""

    def __init__(
        self,
        split: MaskSplit,
        mode: str,
        transform: PairTransform,
        seed: int,
        least_side: int = 0,
        replace: bool = False,
    ) -> None:
        super().__init__(split, seed, replace)
        self.mode, self.transform, self.least_side = mode, transform, least_side

    def read(self, row: int) -> tuple[Image.Image, np.ndarray]:
        """The decoded image and its mask."""
        return self.split.source.pair(row, self.mode)

    def sample(self, found: tuple[Image.Image, np.ndarray]) -> tuple[Tensor, Tensor]:
        """(C, H, W) and (H, W)."""
        return self.transform(*found)

    def collate(self, samples: list[tuple[Tensor, Tensor]], rows: list[int], bad: tuple[Bad, ...]) -> MaskBatch:
        """Padded to the largest."""
        if not samples:
            return MaskBatch(torch.empty(0), torch.empty(0), torch.empty(0), torch.empty(0, 2), bad)
        sizes = torch.tensor([mask.shape for _, mask in samples])
        height, width = sizes.amax(0).clamp(min=self.least_side).tolist()
        images = [pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image, _ in samples]
        masks = [pad(mask, (0, width - mask.shape[1], 0, height - mask.shape[0]), value=IGNORE) for _, mask in samples]
        return MaskBatch(torch.stack(images), torch.stack(masks), torch.tensor(rows), sizes, bad)
