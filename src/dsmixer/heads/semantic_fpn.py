"""Semantic FPN: a feature pyramid whose levels climb to the finest one in steps of two, and are added there.

Paper: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, section 3.2, as PVT and PoolFormer use it for
ADE20K. The pyramid is torchvision's; the rest is written from the paper; Apache-2.0.
"""

from collections import OrderedDict

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from dsmixer.heads.upernet import resized


class SemanticFpnHead(nn.Module):
    """Features of all stages, fine to coarse, to logits at the finest.

    Args:
        in_dims: channels of each stage.
        num_classes: channels of the logits.
        pyramid_dim: channels of the pyramid; 256 in the papers.
        dim: channels of the levels that are added; 128 in the papers.
        drop_rate: dropout of whole channels before the classifier.
        norm: normalisation behind every convolution. Batch norm, as in the papers, needs two images a process to train.
    """

    def __init__(
        self,
        in_dims: list[int],
        num_classes: int,
        *,
        pyramid_dim: int = 256,
        dim: int = 128,
        drop_rate: float = 0.1,
        norm: type[nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.pyramid = FeaturePyramidNetwork(in_dims, pyramid_dim)
        self.climbs = nn.ModuleList(Climb(pyramid_dim, dim, level, norm) for level in range(len(in_dims)))
        self.dropout = nn.Dropout2d(drop_rate)
        self.classifier = nn.Conv2d(dim, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, num_classes, H, W) of the first stage's height and width."""
        levels = list(self.pyramid(OrderedDict((str(i), x) for i, x in enumerate(features))).values())
        risen = [climb(levels[: index + 1]) for index, climb in enumerate(self.climbs)]
        return self.classifier(self.dropout(torch.stack(risen).sum(0)))


class Climb(nn.Module):
    """A level of the pyramid brought to the finest one: a convolution and an upsampling for every step of two."""

    def __init__(self, in_dim: int, dim: int, level: int, norm: type[nn.Module]) -> None:
        super().__init__()
        dims = [in_dim, *[dim] * max(0, level - 1)]  # the finest level has a convolution too, and no upsampling
        self.steps = nn.ModuleList(ConvNormAct(before, dim, 3, norm_layer=norm) for before in dims)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """The last of ``levels`` at the size of the first."""
        y = self.steps[0](levels[-1])
        if len(levels) == 1:
            return y
        y = resized(y, levels[-2])
        for step, finer in zip(self.steps[1:], reversed(levels[:-2]), strict=True):
            y = resized(step(y), finer)
        return y
