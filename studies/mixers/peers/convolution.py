"""Peers that mix neighbours: none, pooling, depthwise convolutions, gated or not."""

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


class Pooling(nn.Module):
    """Mean of the neighbours minus the token (PoolFormer, arXiv 2111.11418)."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x


def depthwise(dim: int, kernel: int) -> nn.Conv2d:
    """One filter a channel."""
    return nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)


class GatedConv(nn.Module):
    """Gated CNN of MambaOut (arXiv 2405.07992): GELU of one projection times the depthwise convolution of another.

    The paper's block has no MLP beside it and expands by 8/3; here the frame's MLP stays, so the expansion is 1.
    """

    def __init__(self, dim: int, kernel: int, norm: bool = False) -> None:
        super().__init__()
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.conv = ChannelsFirst(depthwise(dim, kernel))
        self.norm = nn.LayerNorm(dim, eps=1e-6) if norm else nn.Identity()
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        gate, values = self.in_proj(x_BHWC).chunk(2, -1)
        return self.out_proj(gelu(gate) * self.norm(self.conv(values)))


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


class RecursiveGatedConv(nn.Module):
    """gⁿConv of HorNet (arXiv 2207.14284): ever wider products of depthwise-convolved projections; order 5, 7 × 7.

    The widths are C/2^(order-1), …, C/2, C as in the paper; ``dim`` divides by 16.
    """

    def __init__(self, dim: int, order: int = 5) -> None:
        super().__init__()
        self.widths = [dim // 2 ** (order - 1 - i) for i in range(order)]
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.conv = ChannelsFirst(depthwise(sum(self.widths), 7))
        self.projections = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(self.widths[:-1], self.widths[1:], strict=True)
        )
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        y, rest = self.in_proj(x_BHWC).split([self.widths[0], sum(self.widths)], -1)
        first, *factors = self.conv(rest).split(self.widths, -1)
        y = y * first
        for project, factor in zip(self.projections, factors, strict=True):
            y = project(y) * factor
        return self.out_proj(y)


PEERS = {
    "identity": Mixer(lambda dim, side, index: nn.Identity()),
    "pooling": Mixer(lambda dim, side, index: ChannelsFirst(Pooling())),
    "dwconv3": Mixer(lambda dim, side, index: ChannelsFirst(depthwise(dim, 3))),
    "dwconv7": Mixer(lambda dim, side, index: ChannelsFirst(depthwise(dim, 7))),
    "sepconv": Mixer(lambda dim, side, index: ChannelsFirst(SepConv(dim))),
    "inceptionnext": Mixer(lambda dim, side, index: ChannelsFirst(InceptionDWConv2d(dim))),
    "hornet": Mixer(lambda dim, side, index: RecursiveGatedConv(dim), divisor=16),
    "gatedconv3": Mixer(lambda dim, side, index: GatedConv(dim, 3)),
    "gatedconv7": Mixer(lambda dim, side, index: GatedConv(dim, 7)),
}
