"""UPerNet: pyramid pooling on the coarsest features, a feature pyramid below it, all levels fused at the finest.

Paper: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018, as Swin and ConvNeXt use it for
ADE20K. Written from the paper; Apache-2.0.
"""

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dsmixer.heads.pooling import adaptive_average


def resized(x: Tensor, like: Tensor) -> Tensor:
    """``x`` at height and width of ``like``, bilinear."""
    return interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


class PyramidPooling(nn.Module):
    """Features beside their means over 1, 2, 3 and 6 windows a side (Zhao et al., PSPNet, CVPR 2017)."""

    def __init__(self, in_dim: int, dim: int, bins: tuple[int, ...], norm: type[nn.Module]) -> None:
        super().__init__()
        self.bins = bins
        self.projections = nn.ModuleList(ConvNormAct(in_dim, dim, 1, norm_layer=norm) for _ in bins)
        self.fuse = ConvNormAct(in_dim + len(bins) * dim, dim, 3, norm_layer=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_dim, H, W) to (B, dim, H, W)."""
        pooled = [
            resized(project(adaptive_average(x, bins)), x)
            for bins, project in zip(self.bins, self.projections, strict=True)
        ]
        return self.fuse(torch.cat([x, *pooled], 1))


class UperNetHead(nn.Module):
    """Features of all stages, fine to coarse, to logits at the finest.

    Args:
        in_dims: channels of each stage.
        num_classes: channels of the logits.
        dim: channels inside; 512 in the papers.
        bins: windows a side of the pyramid pooling.
        drop_rate: dropout of whole channels before the classifier.
        norm: normalisation behind every convolution. Batch norm, as in the papers, needs two images a process to train.
    """

    def __init__(
        self,
        in_dims: list[int],
        num_classes: int,
        *,
        dim: int = 512,
        bins: tuple[int, ...] = (1, 2, 3, 6),
        drop_rate: float = 0.1,
        norm: type[nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.pooling = PyramidPooling(in_dims[-1], dim, bins, norm)
        self.laterals = nn.ModuleList(ConvNormAct(in_dim, dim, 1, norm_layer=norm) for in_dim in in_dims[:-1])
        self.smooth = nn.ModuleList(ConvNormAct(dim, dim, 3, norm_layer=norm) for _ in in_dims[:-1])
        self.fuse = ConvNormAct(len(in_dims) * dim, dim, 3, norm_layer=norm)
        self.dropout = nn.Dropout2d(drop_rate)
        self.classifier = nn.Conv2d(dim, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, num_classes, H, W) of the first stage's height and width."""
        levels = [self.pooling(features[-1])]
        for x, lateral in zip(reversed(features[:-1]), reversed(self.laterals), strict=True):
            projected = lateral(x)
            levels.insert(0, projected + resized(levels[0], projected))
        finer = [smooth(level) for smooth, level in zip(self.smooth, levels[:-1], strict=True)]
        levels = [*finer, levels[-1]]
        fused = self.fuse(torch.cat([levels[0], *(resized(level, levels[0]) for level in levels[1:])], 1))
        return self.classifier(self.dropout(fused))
