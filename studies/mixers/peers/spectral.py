"""Peers of the spectral family. Complex filters are kept as two real numbers, as in the papers' code.

Layout: B batch, H W token grid, U V frequencies, C channels.
"""

import math

import torch
from timm.layers import Mlp
from timm.models.metaformer import StarReLU
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, silu, softshrink

from dsmixer.spectral import dct2, idct2
from studies.mixers.frame import Mixer
from studies.mixers.peers.convolution import ChannelsFirst, depthwise


def analysis(x_BHWC: Tensor) -> Tensor:
    """Half of the orthonormal Fourier spectrum."""
    return torch.fft.rfft2(x_BHWC.float(), dim=(1, 2), norm="ortho")


def synthesis(s_BUVC: Tensor, like: Tensor) -> Tensor:
    """Its inverse."""
    return torch.fft.irfft2(s_BUVC, s=like.shape[1:3], dim=(1, 2), norm="ortho").to(like.dtype)


def resized(table: Tensor, height: int, width: int) -> Tensor:
    """A (U, V, …) table made for one grid, at the frequencies of another: bicubic, as the papers do."""
    if table.shape[:2] == (height, width):
        return table
    flat = table.flatten(2).permute(2, 0, 1)[None]
    flat = interpolate(flat, (height, width), mode="bicubic", align_corners=True)
    return flat[0].permute(1, 2, 0).unflatten(-1, table.shape[2:])


class GlobalFilter(nn.Module):
    """GFNet (arXiv 2107.00645): one learned complex number per frequency and channel.

    In its block a norm and the MLP follow, in the same residual branch; the stem's tokens have a position embedding.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.empty(side, side // 2 + 1, dim, 2))

    def reset_parameters(self) -> None:
        nn.init.normal_(self.filter, std=0.02)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        s_BUVC = analysis(x_BHWC)
        weights = resized(self.filter, *s_BUVC.shape[1:3])
        return synthesis(s_BUVC * torch.view_as_complex(weights.contiguous()), x_BHWC)


class AdaptiveFourierOperator(nn.Module):
    """AFNO (arXiv 2111.13587): a two-layer complex MLP, block-diagonal in the channels, shared by all frequencies.

    The paper's blocks hold 96 of 768 channels. Here they hold the first stage's width, some 32 channels, and their
    weights start larger in proportion, lest the threshold take more. As its code trains, a norm and the MLP follow in
    the same residual branch, and the stem's tokens have a position embedding.
    """

    def __init__(self, dim: int, num_blocks: int, threshold: float = 0.01) -> None:
        super().__init__()
        size = dim // num_blocks
        self.threshold = threshold
        self.weights = nn.Parameter(torch.empty(2, num_blocks, size, size, 2))
        self.biases = nn.Parameter(torch.empty(2, num_blocks, size, 2))

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weights, std=0.02 * (96 / self.weights.shape[2]) ** 0.5)
        nn.init.normal_(self.biases, std=0.02)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        weights, biases = torch.view_as_complex(self.weights), torch.view_as_complex(self.biases)
        s = analysis(x_BHWC).unflatten(-1, weights.shape[1:3])
        s = torch.view_as_real(torch.einsum("buvni,nio->buvno", s, weights[0]) + biases[0]).relu()
        s = torch.view_as_real(torch.einsum("buvni,nio->buvno", torch.view_as_complex(s), weights[1]) + biases[1])
        s = torch.view_as_complex(softshrink(s, self.threshold)).flatten(-2)
        return synthesis(s, x_BHWC) + x_BHWC


class DynamicFilter(nn.Module):
    """DFFormer (arXiv 2303.03932): per image and channel a softmax mixture of four complex filters, from the mean.

    Its filters start with a deviation of 0.02, under which the router learns nothing in so short a training; here, 0.5.
    """

    def __init__(self, dim: int, side: int, num_filters: int = 4, expansion: int = 2) -> None:
        super().__init__()
        hidden = expansion * dim
        self.in_proj = nn.Linear(dim, hidden, bias=False)
        self.act = StarReLU()
        self.router = Mlp(dim, dim // 4, num_filters * hidden, act_layer=StarReLU, bias=False)
        self.filters = nn.Parameter(torch.empty(side, side // 2 + 1, num_filters, 2))
        self.out_proj = nn.Linear(hidden, dim, bias=False)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.filters, std=0.5)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        shares = self.router(x_BHWC.mean((1, 2))).unflatten(-1, (self.filters.shape[2], -1)).softmax(1)
        y = self.act(self.in_proj(x_BHWC))
        s_BUVC = analysis(y)
        filters = torch.view_as_complex(resized(self.filters, *s_BUVC.shape[1:3]).contiguous())
        weights = torch.einsum("uvf,bfc->buvc", filters, shares.to(filters.dtype))
        return self.out_proj(synthesis(s_BUVC * weights, y))


class HeatConduction(nn.Module):
    """HCO of vHeat (arXiv 2405.16555): local convolution, DCT, decay exp(-k|ω|²) with learned k ≥ 0, norm, gate.

    The blocks of a stage share the embedding of the frequencies, which is the ``first`` block's.
    """

    def __init__(self, dim: int, side: int, first: "HeatConduction | None" = None) -> None:
        super().__init__()
        self.owner = () if first is None else (first,)  # in a tuple, so that its parameters are not registered twice
        self.local = ChannelsFirst(depthwise(dim, 3))
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.embedding = nn.Parameter(torch.empty(side, side, dim)) if first is None else None
        self.to_k = nn.Sequential(nn.Linear(dim, dim), nn.ReLU())
        self.norm = nn.LayerNorm(dim)
        self.out_proj = nn.Linear(dim, dim)

    def reset_parameters(self) -> None:
        if self.embedding is not None:
            nn.init.trunc_normal_(self.embedding, std=0.02)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        v, z = self.in_proj(self.local(x_BHWC)).chunk(2, -1)
        height, width = v.shape[1:3]
        embedding = self.owner[0].embedding if self.owner else self.embedding
        k = self.to_k(resized(embedding, height, width))
        omega = [torch.arange(n, device=v.device) * (math.pi / n) for n in (height, width)]
        decay = torch.exp(-(omega[0][:, None] ** 2 + omega[1] ** 2))[..., None] ** k
        return self.out_proj(self.norm(idct2(dct2(v) * decay)) * silu(z))


class SpectralRescaling(nn.Module):
    """SPANetV2's mixer, as in the code of its pure models: depthwise 3, 5, 7, 9 in four heads of channels, each
    spectrum scaled by the sigmoid of a learned real number per frequency and channel. What the heads say of a channel
    is expanded to twice the width, normalised over the image, activated and projected; it multiplies an activated
    query.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.to_query = nn.Linear(dim, dim, bias=False)
        self.to_heads = nn.Linear(dim, dim, bias=False)
        self.convs = nn.ModuleList(ChannelsFirst(depthwise(dim // 4, kernel)) for kernel in (3, 5, 7, 9))
        self.scales = nn.Parameter(torch.empty(side, side // 2 + 1, dim))
        expand = nn.Conv2d(dim, 2 * dim, 1, groups=dim // 4, bias=False)
        project = nn.Conv2d(2 * dim, dim, 1, bias=False)
        self.to_context = ChannelsFirst(nn.Sequential(expand, nn.GroupNorm(1, 2 * dim), nn.GELU(), project))
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.scales, std=0.02)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        heads = self.to_heads(x_BHWC).chunk(4, -1)
        local = torch.cat([conv(head) for conv, head in zip(self.convs, heads, strict=True)], -1)
        s_BUVC = analysis(local)
        scaled = synthesis(s_BUVC * resized(self.scales, *s_BUVC.shape[1:3]).sigmoid(), local)
        side_by_side = scaled.unflatten(-1, (4, -1)).transpose(-1, -2).flatten(-2)  # the heads' channel i: a group
        return self.out_proj(gelu(self.to_query(x_BHWC)) * self.to_context(side_by_side))


PEERS = {
    "gfnet": Mixer(lambda at: GlobalFilter(at.dim, at.side), position_embedding=True, mlp="behind"),
    "afno": Mixer(lambda at: AdaptiveFourierOperator(at.dim, 2**at.stage), position_embedding=True, mlp="behind"),
    "dfformer": Mixer(lambda at: DynamicFilter(at.dim, at.side)),
    "vheat": Mixer(lambda at: HeatConduction(at.dim, at.side, *at.before[:1])),
    "spanetv2": Mixer(lambda at: SpectralRescaling(at.dim, at.side)),
}
