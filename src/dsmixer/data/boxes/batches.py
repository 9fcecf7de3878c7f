"""Batches of images of different sizes: to train on, and to be scored."""

from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from dsmixer.data.bad import Bad
from dsmixer.data.boxes.source import BoxedImages
from dsmixer.data.boxes.transforms import to_target, to_tensor
from dsmixer.data.samples import Samples
from dsmixer.data.splits import Split


class BoxBatch(NamedTuple):
    """Images (3, H, W), H and W their own; a target each, as torchvision's detectors take it; and the rows (B,).

    A target holds boxes (N, 4), labels (N,) as class indices from 0, and for masks uint8 (N, H, W).
    """

    images: list[Tensor]
    targets: list[dict[str, Tensor]]
    rows: Tensor
    bad: tuple[Bad, ...] = ()  # that cannot be read

    def to(self, device: torch.device, channels_last: bool = False) -> "BoxBatch":
        """On another device, without waiting for the copy; single images have no such layout to choose."""
        images = [image.to(device, non_blocking=True) for image in self.images]
        targets = [{key: value.to(device, non_blocking=True) for key, value in t.items()} for t in self.targets]
        return self._replace(images=images, targets=targets)

    def pack(self) -> dict[str, Tensor]:
        """Its tensors by name: rows, images/0, targets/0/boxes and so on."""
        images = {f"images/{number}": image for number, image in enumerate(self.images)}
        targets = {
            f"targets/{number}/{key}": value for number, t in enumerate(self.targets) for key, value in t.items()
        }
        return {"rows": self.rows, **images, **targets}

    @classmethod
    def unpack(cls, tensors: dict[str, Tensor]) -> "BoxBatch":
        """The batch that was packed."""
        rows = tensors["rows"]
        targets: list[dict[str, Tensor]] = [{} for _ in rows]
        for name, value in tensors.items():
            if name.startswith("targets/"):
                _, number, key = name.split("/")
                targets[int(number)][key] = value
        return cls([tensors[f"images/{number}"] for number in range(len(rows))], targets, rows)


class TruthBatch(NamedTuple):
    """Images (3, H, W) at their own size; what is in each, as ``BoxedImages.truth`` writes it; and the rows (B,)."""

    images: list[Tensor]
    truths: list[dict[str, Any]]
    rows: Tensor
    bad: tuple[Bad, ...] = ()  # that cannot be read

    def to(self, device: torch.device, channels_last: bool = False) -> "TruthBatch":
        """On another device; the truth stays, it is only compared with."""
        return self._replace(images=[image.to(device, non_blocking=True) for image in self.images])


class BoxesToTrainOn(Samples[BoxBatch]):
    """A split of ``BoxedImages``, transformed; another image takes the place of one that cannot be read."""

    def __init__(self, split: Split[BoxedImages], transform: v2.Transform, seed: int, *, masks: bool) -> None:
        super().__init__(split, seed, replace=True)
        self.transform, self.masks = transform, masks

    def read(self, row: int) -> tuple[Image.Image, dict[str, Any]]:
        """The decoded image and its objects."""
        source: BoxedImages = self.split.source
        image = source.image(row, "RGB")
        return image, to_target(source.objects(row), *image.size, masks=self.masks, name=source.name(row))

    def sample(self, found: tuple[Image.Image, dict[str, Any]]) -> tuple[Tensor, dict[str, Tensor]]:
        """(3, H, W) and the target."""
        image, target = self.transform(*found)
        return to_tensor(image), {key: value.as_subclass(Tensor) for key, value in target.items()}

    def collate(self, samples: list[Any], rows: list[int], bad: tuple[Bad, ...]) -> BoxBatch:
        """Each image at its size."""
        return BoxBatch([image for image, _ in samples], [target for _, target in samples], torch.tensor(rows), bad)


class BoxesToScore(Samples[TruthBatch]):
    """A split of ``BoxedImages`` as it is; what cannot be read is left out."""

    def __init__(self, split: Split[BoxedImages]) -> None:
        super().__init__(split, seed=0, replace=False)  # nothing is drawn

    def read(self, row: int) -> Image.Image:
        """The decoded image."""
        return self.split.source.image(row, "RGB")

    def sample(self, found: Image.Image) -> Tensor:
        """(3, H, W)."""
        return to_tensor(found)

    def collate(self, samples: list[Tensor], rows: list[int], bad: tuple[Bad, ...]) -> TruthBatch:
        """Each image at its size, and the truth of it."""
        return TruthBatch(samples, [self.split.source.truth(row) for row in rows], torch.tensor(rows), bad)
