"""Peers that mix neighbours: none, pooling, depthwise convolutions, gated or not."""

import torch
from timm.models.inception_next import InceptionDWConv2d
from timm.models.metaformer import SepConv
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, gelu, silu

from studies.mixers.frame import Mixer


class ChannelsFirst(nn.Module):
    """Apply an NCHW module to tokens (B, H, W, C)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x_BHWC: Tensor) -> Tensor:
        return self.module(x_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def no_norm(dim: int) -> nn.Module:
    """What comes is taken as it is."""
    return nn.Identity()


def batch_norm(dim: int) -> nn.Module:
    """Over batch and tokens."""
    return ChannelsFirst(nn.BatchNorm2d(dim))


class Pooling(nn.Module):
    """Mean of the neighbours minus the token (PoolFormer, arXiv 2111.11418)."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x


def depthwise(dim: int, kernel: int) -> nn.Conv2d:
    """One filter a channel."""
    return nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)


class GatedConv(nn.Module):
    """Gated CNN of MambaOut (arXiv 2405.07992): GELU of one projection times another, ``dim`` of it convolved.

    The paper's block has no MLP and expands by 8/3. In the frame's block, beside an MLP, the expansion is 1.
    """

    def __init__(self, dim: int, kernel: int, expansion: float = 1.0, norm: bool = False) -> None:
        super().__init__()
        hidden = int(expansion * dim)
        self.widths = (hidden, hidden - dim, dim)
        self.in_proj = nn.Linear(dim, 2 * hidden)
        self.conv = ChannelsFirst(depthwise(dim, kernel))
        self.norm = nn.LayerNorm(hidden, eps=1e-6) if norm else nn.Identity()
        self.out_proj = nn.Linear(hidden, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        gate, idle, values = self.in_proj(x_BHWC).split(self.widths, -1)
        return self.out_proj(gelu(gate) * self.norm(torch.cat([idle, self.conv(values)], -1)))


class FilteredGateConv(nn.Module):
    """Not a peer but a control: our mixer with 7 × 7 convolutions in place of the spectrum."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.conv = ChannelsFirst(depthwise(2 * dim, kernel))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x_BHWC = self.in_proj(x_BHWC)
        values, gate = self.conv(x_BHWC).chunk(2, -1)
        return self.out_proj(silu(x_BHWC.chunk(2, -1)[1] + gate) * self.norm(values))


class NearConv(nn.Module):
    """Not a peer but a control: our mixer without the spectrum, convolutions of the tokens added to values and gate."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.of_values, self.of_gate = (ChannelsFirst(depthwise(dim, kernel)) for _ in range(2))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        values, gate = self.in_proj(x_BHWC).chunk(2, -1)
        return self.out_proj(self.norm(values + self.of_values(x_BHWC)) * silu(gate + self.of_gate(x_BHWC)))


class RecursiveGatedConv(nn.Module):
    """gⁿConv of HorNet (arXiv 2207.14284): ever wider products of 7 × 7 depthwise-convolved projections.

    The widths are C/2^(order-1), …, C/2, C. The order is 2 in the first stage and one more in each further stage, and
    convolved values are divided by 3, as in its code. Its code's initial weights make the branch of a short product
    10,000 times and of a long one 10^12 times smaller than its input; in so short a training it would never start, so
    projections and filters keep the size of their input here.
    """

    def __init__(self, dim: int, order: int) -> None:
        super().__init__()
        self.widths = [dim // 2 ** (order - 1 - i) for i in range(order)]
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.conv = ChannelsFirst(depthwise(sum(self.widths), 7))
        self.projections = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(self.widths[:-1], self.widths[1:], strict=True)
        )
        self.out_proj = nn.Linear(dim, dim)

    def reset_parameters(self) -> None:
        """No product fades."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
            elif isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=3 / 7)  # 49 taps, and a division by 3

    def forward(self, x_BHWC: Tensor) -> Tensor:
        y, rest = self.in_proj(x_BHWC).split([self.widths[0], sum(self.widths)], -1)
        first, *factors = (self.conv(rest) / 3).split(self.widths, -1)
        y = y * first
        for project, factor in zip(self.projections, factors, strict=True):
            y = project(y) * factor
        return self.out_proj(y)


PEERS = {
    "identity": Mixer(lambda at: nn.Identity()),
    "pooling": Mixer(lambda at: ChannelsFirst(Pooling())),
    "dwconv3": Mixer(lambda at: ChannelsFirst(depthwise(at.dim, 3))),
    "dwconv7": Mixer(lambda at: ChannelsFirst(depthwise(at.dim, 7))),
    "sepconv": Mixer(lambda at: ChannelsFirst(SepConv(at.dim))),
    # Whole blocks of the convolutional line: the mixer first, then a norm and the MLP, in one residual branch.
    "convnext": Mixer(lambda at: ChannelsFirst(depthwise(at.dim, 7)), mlp="behind", norm1=no_norm),
    "inceptionnext": Mixer(
        lambda at: ChannelsFirst(InceptionDWConv2d(at.dim)), mlp="behind", norm1=no_norm, norm2=batch_norm
    ),
    "hornet": Mixer(lambda at: RecursiveGatedConv(at.dim, order=2 + at.stage)),
    "gatedconv3": Mixer(lambda at: GatedConv(at.dim, 3)),
    "gatedconv7": Mixer(lambda at: GatedConv(at.dim, 7)),
    "mambaout": Mixer(lambda at: GatedConv(at.dim, 7, expansion=8 / 3), mlp="none"),
}
