"""Batches of images of different sizes: to train on, and to be scored."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from dsmixer.data.bad import Bad
from dsmixer.data.box_transforms import to_target, to_tensor
from dsmixer.data.loader import Key
from dsmixer.data.seeds import SAMPLE, borrowed_generators, counted_seed, seed_generators
from dsmixer.data.splits import Split


class BoxBatch(NamedTuple):
    """Images (3, H, W), H and W their own; a target each, as torchvision's detectors take it; and the rows (B,).

    A target holds boxes (N, 4), labels (N,) as class indices from 0, and for masks uint8 (N, H, W).
    """

    images: list[Tensor]
    targets: list[dict[str, Tensor]]
    rows: Tensor
    bad: tuple[Bad, ...] = ()  # unreadable ones; so far there are none, for one stops the run

    def to(self, device: torch.device, channels_last: bool = False) -> "BoxBatch":
        """On another device, without waiting for the copy; single images have no such layout to choose."""
        images = [image.to(device, non_blocking=True) for image in self.images]
        targets = [{key: value.to(device, non_blocking=True) for key, value in t.items()} for t in self.targets]
        return BoxBatch(images, targets, self.rows)


class TruthBatch(NamedTuple):
    """Images (3, H, W) at their own size; what is in each, as ``BoxedImages.truth`` writes it; and the rows (B,)."""

    images: list[Tensor]
    truths: list[dict[str, Any]]
    rows: Tensor
    bad: tuple[Bad, ...] = ()  # as in `BoxBatch`

    def to(self, device: torch.device, channels_last: bool = False) -> "TruthBatch":
        """On another device; the truth stays, it is only compared with."""
        return TruthBatch([image.to(device, non_blocking=True) for image in self.images], self.truths, self.rows)


class _Rows(Dataset):
    """A split of ``BoxedImages``."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.source: Any = split.source

    def __len__(self) -> int:
        return len(self.split.rows)

    def row(self, position: int) -> int:
        """The row of the source at a position of the split, or beyond it, where the split begins again."""
        return int(self.split.rows[position % len(self.split.rows)])


class BoxesToTrainOn(_Rows):
    """A split of ``BoxedImages``, transformed; asked for by (epoch, position)."""

    def __init__(self, split: Split, transform: v2.Transform, seed: int, *, masks: bool) -> None:
        super().__init__(split)
        self.transform, self.seed, self.masks = transform, seed, masks

    def __getitems__(self, keys: list[Key]) -> BoxBatch:
        """A batch; every draw is a function of (seed, epoch, position)."""
        rows = [self.row(position) for _, position in keys]
        images, targets = [], []
        with borrowed_generators():
            for (epoch, position), row in zip(keys, rows, strict=True):
                seed_generators(counted_seed(self.seed, SAMPLE, epoch, position))
                image, target = self._sample(row)
                images.append(image)
                targets.append(target)
        return BoxBatch(images, targets, torch.tensor(rows))

    def _sample(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = self.source.image(row, "RGB")
        target = to_target(self.source.objects(row), *image.size, masks=self.masks, name=self.source.name(row))
        image, target = self.transform(image, target)
        return to_tensor(image), {key: value.as_subclass(Tensor) for key, value in target.items()}


class BoxesToScore(_Rows):
    """A split of ``BoxedImages`` as it is; asked for by (epoch, position)."""

    def __getitems__(self, keys: list[Key]) -> TruthBatch:
        """A batch; nothing is drawn."""
        rows = [self.row(position) for _, position in keys]
        images = [to_tensor(self.source.image(row, "RGB")) for row in rows]
        return TruthBatch(images, [self.source.truth(row) for row in rows], torch.tensor(rows))
