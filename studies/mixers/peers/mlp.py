"""Peers of the MLP family: weights over all tokens, phases, shifts."""

from functools import partial

import torch
from timm.layers import GatedMlp, Mlp
from timm.models.mlp_mixer import SpatialGatingUnit
from torch import Tensor, nn
from torch.nn.functional import pad

from studies.mixers.frame import Mixer
from studies.mixers.peers.convolution import ChannelsFirst


class TokenMlp(nn.Module):
    """MLP over the tokens, shared by all channels (MLP-Mixer, arXiv 2105.01601).

    The paper's hidden width is half the channels, which is 1.3 to 2 times its tokens; both cannot hold in a pyramid.
    Here it is half the channels or half the tokens, whichever is more.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.mlp = Mlp(side**2, max(side**2, dim) // 2)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        mixed = self.mlp(x_BHWC.flatten(1, 2).transpose(1, 2)).transpose(1, 2)
        return mixed.unflatten(1, x_BHWC.shape[1:3])


class GatedTokenMlp(nn.Module):
    """Project, GELU, spatial gating unit, project (gMLP, arXiv 2105.08050).

    The paper's block expands by 6 and has no other MLP. In the frame's block, beside an MLP, the expansion is 2.
    """

    def __init__(self, dim: int, side: int, expansion: int = 2) -> None:
        super().__init__()
        self.mlp = GatedMlp(dim, expansion * dim, gate_layer=partial(SpatialGatingUnit, seq_len=side**2))

    def reset_parameters(self) -> None:
        """The paper's: the gate starts at one."""
        self.mlp.gate.init_weights()

    def forward(self, x_BHWC: Tensor) -> Tensor:
        return self.mlp(x_BHWC.flatten(1, 2)).unflatten(1, x_BHWC.shape[1:3])


class Reweighted(nn.Module):
    """Sum of branches with weights from the image: softmax of an MLP of their mean, per channel (split attention)."""

    def __init__(self, dim: int, branches: int) -> None:
        super().__init__()
        self.mlp = Mlp(dim, dim // 4, branches * dim)

    def forward(self, branches: list[Tensor]) -> Tensor:
        stacked = torch.stack(branches, -1)
        weights = self.mlp(stacked.sum(-1).mean((1, 2))).unflatten(-1, (stacked.shape[-2], -1)).softmax(-1)
        return (stacked * weights[:, None, None]).sum(-1)


class PhaseAwareAxis(nn.Module):
    """Tokens as waves along one axis: amplitude times cosine and sine of a phase, then a 7-token filter per channel."""

    def __init__(self, dim: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        phase = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim), nn.ReLU())
        self.phase = ChannelsFirst(phase)
        self.amplitude = nn.Linear(dim, dim, bias=False)
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.mix = ChannelsFirst(nn.Conv2d(2 * dim, dim, kernel, padding=padding, groups=dim, bias=False))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        amplitude, phase = self.amplitude(x_BHWC), self.phase(x_BHWC)
        # Real and imaginary part of a channel side by side: the groups of the convolution.
        return self.mix(torch.stack([amplitude * phase.cos(), amplitude * phase.sin()], -1).flatten(-2))


class PhaseAwareTokenMixing(nn.Module):
    """PATM of Wave-MLP (arXiv 2111.12294): waves along height and width, a channel projection, reweighted."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.height, self.width = PhaseAwareAxis(dim, (7, 1)), PhaseAwareAxis(dim, (1, 7))
        self.channels = nn.Linear(dim, dim, bias=False)
        self.reweight = Reweighted(dim, 3)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        branches = [self.height(x_BHWC), self.width(x_BHWC), self.channels(x_BHWC)]
        return self.out_proj(self.reweight(branches))


class CycleAxis(nn.Module):
    """Cycle FC: channel c reads its value (c mod 3) - 1 tokens away along an axis, zero outside; then a projection.

    The cycle is that of its code. The paper's longest, 7 tokens, is for maps of 56 × 56 tokens.
    """

    def __init__(self, dim: int, axis: int, cycle: int = 3) -> None:
        super().__init__()
        self.axis, self.cycle = axis, cycle
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        length, reach = x_BHWC.shape[self.axis], self.cycle // 2
        border = [0, 0, 0, 0, 0, 0]
        border[2 * (3 - self.axis) : 2 * (3 - self.axis) + 2] = [reach, reach]
        padded = pad(x_BHWC, border)
        shifted = torch.empty_like(x_BHWC)
        for phase in range(self.cycle):
            shifted[..., phase :: self.cycle] = padded.narrow(self.axis, phase, length)[..., phase :: self.cycle]
        return self.proj(shifted)


class CycleMlp(nn.Module):
    """CycleMLP (arXiv 2107.10224): cycles over height and width, a channel projection, reweighted."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.height, self.width = CycleAxis(dim, 1), CycleAxis(dim, 2)
        self.channels = nn.Linear(dim, dim)
        self.reweight = Reweighted(dim, 3)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        branches = [self.height(x_BHWC), self.width(x_BHWC), self.channels(x_BHWC)]
        return self.out_proj(self.reweight(branches))


PEERS = {
    "mlpmixer": Mixer(lambda at: TokenMlp(at.dim, at.side)),
    "gmlp": Mixer(lambda at: GatedTokenMlp(at.dim, at.side)),
    "gmlp-whole": Mixer(lambda at: GatedTokenMlp(at.dim, at.side, expansion=6), mlp="none"),
    "wavemlp": Mixer(lambda at: PhaseAwareTokenMixing(at.dim)),
    "cyclemlp": Mixer(lambda at: CycleMlp(at.dim)),
}
