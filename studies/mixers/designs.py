"""Designs that were tried on the way to `dsmixer.layers.SpectrumMixer`; the default with a part exchanged: `variants`.

`Trial` without options is the former default of this study, a spectrum without convolutions, in a block beside an MLP;
`LocalAndGlobal` puts convolutions beside the spectrum or in its place; `Whole` is a block of one branch by its parts.

Layout: B batch, H W token grid, U V frequencies, K bands, G channel groups, C channels.
"""

from functools import partial
from typing import Literal

import torch
from timm.layers import SwiGLU
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from dsmixer.layers.weights import DynamicGains
from dsmixer.spectral import dct2, idct2, ring_weights, synthesis2
from studies.mixers.gains import GAINS, Faster, image_content, zero_
from studies.mixers.peers.convolution import ChannelsFirst, depthwise
from studies.mixers.responses import BASES, COSINE, MIXED, AxisResponse, Bases, Response, synthesised

NUM_RINGS = 4  # for what every token or filter reads


class Trial(nn.Module):
    """The former default of this study, with parts exchanged.

    Args:
        dim: channels.
        gains: what the spectrum is multiplied with per image, see `studies.mixers.gains`.
        content: which image of the batch the gains are made from: "own", or "other" (the control).
        weighed: what the gains apply to; a gate that is not filtered has none.
        bases: synthesis of the values: "mixed" over channel groups, "cosine" alone, "all" four in every channel, or
            "axes": half of the channels filtered along the height alone, half along the width.
        gate: "filtered" or "none".
        bands: the static responses have a weight per band beside the polynomial.
        local: depthwise 3 × 3 convolution, zeros at the border, of the values.
        filters: so many more filters of the values, mixed by the content of the image.
        gate_of: which image of the batch the gate is made from.
        token_gains: every token weighs the rings of the values' spectrum for itself.
    """

    def __init__(
        self,
        dim: int,
        *,
        gains: str = "default",
        content: Literal["own", "other"] = "own",
        weighed: Literal["both", "values", "gate"] = "both",
        bases: Literal["mixed", "cosine", "all", "axes"] = "mixed",
        gate: Literal["filtered", "none"] = "filtered",
        bands: bool = True,
        local: bool = False,
        filters: int = 0,
        token_gains: bool = False,
        gate_of: Literal["own", "other"] = "own",
    ) -> None:
        super().__init__()
        self.content, self.gate_kind, self.bases = content, gate, BASES[bases]
        self.in_proj = nn.Linear(dim, dim if gate == "none" else 2 * dim, bias=False)
        if bases == "all":
            self.values = nn.ModuleList(Response(dim, (pair,)) for pair in self.bases)
        elif bases == "axes":
            self.values = nn.ModuleList([AxisResponse(dim)])
        else:
            self.values = nn.ModuleList([Response(dim, self.bases, bands=bands)])
        self.gate = Response(dim, identity=True, bands=bands) if gate == "filtered" else None
        self.weighed = weighed if gate == "filtered" else "values"
        self.gains = GAINS[gains](2 * dim if self.weighed == "both" else dim)
        self.gate_bias = nn.Parameter(torch.zeros(dim)) if gate != "none" else None
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.local = ChannelsFirst(depthwise(dim, 3)) if local else nn.Identity()
        self.out_proj = nn.Linear(dim, dim)
        self.gate_of = gate_of
        self.filters = MixedFilters(dim, self.bases, filters) if filters else None
        self.token_gains = TokenGains(dim) if token_gains else None

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Mixed tokens."""
        y, z = self._mix(self.in_proj(dct2(x_BHWC)))
        if self.token_gains is not None:
            y = self.token_gains(x_BHWC, y)
        y = self.norm(self.local(y))
        if z is None:
            return self.out_proj(y)
        z = z if self.gate_of == "own" else z.roll(1, 0)
        return self.out_proj(y * silu(z + self.gate_bias))

    def _mix(self, s_BUVC: Tensor) -> tuple[Tensor, Tensor | None]:
        """Values and the argument of the gate."""
        dim = self.out_proj.in_features
        if self.weighed == "both":
            s_BUVC = s_BUVC * self._gains(s_BUVC)
        v, z = s_BUVC[..., :dim], s_BUVC[..., dim:]
        if self.weighed == "values":
            v = v * self._gains(v)
        if self.weighed == "gate":
            z = z * self._gains(z)
        if self.gate is not None:
            z = z * self.gate(*s_BUVC.shape[1:3])
        return self._values(v), synthesis2(z) if self.gate_kind != "none" else None

    def _gains(self, s_BUVC: Tensor) -> Tensor | float:
        return self.gains(s_BUVC if self.content == "own" else s_BUVC.roll(1, 0))

    def _values(self, v_BUVC: Tensor) -> Tensor:
        height, width = v_BUVC.shape[1:3]
        if len(self.values) > 1:  # every channel in all bases
            pairs = zip(self.values, self.bases, strict=True)
            return torch.stack([synthesis2(v_BUVC * r(height, width), *pair) for r, pair in pairs]).sum(0)
        response = self.values[0](height, width)
        if self.filters is not None:
            response = response + self.filters(v_BUVC)
        if self.token_gains is not None:
            return self.token_gains.rings(v_BUVC * response, self._synthesis)
        return self._synthesis(v_BUVC * response)

    def _synthesis(self, v_BUVC: Tensor) -> Tensor:
        return synthesised(v_BUVC, self.bases)


class MixedFilters(nn.Module):
    """Filters beside the static one, in an amount that a small MLP reads from an image's means and ring powers.

    As in DFFormer, but smooth filters of any size, and mixed per group of channels.
    """

    def __init__(self, dim: int, bases: Bases, num_filters: int, num_groups: int = 8, hidden_dim: int = 16) -> None:
        super().__init__()
        self.num_groups = num_groups
        make = partial(Response, dim, bases, num_terms=3, bands=False)
        self.filters = nn.ModuleList(make() for _ in range(num_filters))
        self.norm = nn.LayerNorm(dim + NUM_RINGS * num_groups, eps=1e-6)
        self.hidden = nn.Linear(dim + NUM_RINGS * num_groups, hidden_dim)
        self.to_amounts = nn.Linear(hidden_dim, num_filters * num_groups)

    def reset_parameters(self) -> None:
        """No filter is used."""
        zero_(self.to_amounts)

    def forward(self, v_BUVC: Tensor) -> Tensor:
        """(B, U, V, C): what to add to the static response."""
        height, width = v_BUVC.shape[1:3]
        read = image_content(v_BUVC, self.num_groups, NUM_RINGS)
        amounts_BNG = self.to_amounts(gelu(self.hidden(self.norm(read)))).unflatten(-1, (-1, self.num_groups))
        filters = torch.stack([response(height, width) for response in self.filters])
        return torch.einsum("bng,nuvgc->buvgc", amounts_BNG, filters.unflatten(-1, (self.num_groups, -1))).flatten(-2)


class TokenGains(nn.Module):
    """Weights of the rings for every token and group of channels: a spectrum that varies over the image."""

    def __init__(self, dim: int, num_groups: int = 8) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.to_gains = nn.Linear(dim, NUM_RINGS * num_groups)

    def reset_parameters(self) -> None:
        """All 1."""
        zero_(self.to_gains)

    def rings(self, v_BUVC: Tensor, synthesis) -> Tensor:
        """(K, B, H, W, C): the values' part in every ring."""
        rings_BUVK = ring_weights(torch.eye(NUM_RINGS, device=v_BUVC.device)[None], *v_BUVC.shape[1:3])
        return torch.stack([synthesis(v_BUVC * ring) for ring in rings_BUVK.split(1, -1)])

    def forward(self, x_BHWC: Tensor, y_KBHWC: Tensor) -> Tensor:
        gains = 2 * torch.sigmoid(self.to_gains(x_BHWC)).unflatten(-1, (NUM_RINGS, self.num_groups))
        grouped = y_KBHWC.unflatten(-1, (self.num_groups, -1))
        return torch.einsum("bhwkg,kbhwgc->bhwgc", gains, grouped).flatten(-2)


class LocalAndGlobal(nn.Module):
    """A convolution for the values or for the gate, the spectrum for the other: products of near and far.

    Args:
        dim: channels.
        local: what is convolved. A convolved gate is the token plus the convolution, as a filtered one starts near it.
        kernel: side of the depthwise convolution.
        gains: of the spectrum, see `studies.mixers.gains`.
        far_too: what is convolved is filtered as well, and the two are added.
        near_gate: side of a second convolution, of the mixer's input, that is added to the gate; 0 for none.
        direct: what is convolved is the mixer's input, without a projection.
        weighed_first: the gains are of the mixer's input, and what is convolved has them too.
    """

    def __init__(
        self,
        dim: int,
        *,
        local: Literal["values", "gate"] = "values",
        kernel: int = 7,
        gains: str = "default",
        far_too: bool = False,
        near_gate: int = 0,
        direct: bool = False,
        weighed_first: bool = False,
    ) -> None:
        super().__init__()
        self.weighed_first = weighed_first
        self.local = local
        self.bases, other = (COSINE, MIXED) if local == "values" else (MIXED, COSINE)
        self.near = nn.Identity() if direct else nn.Linear(dim, dim)
        self.far = nn.Linear(dim, dim * (2 if far_too else 1), bias=False)
        self.conv = ChannelsFirst(depthwise(dim, kernel))
        self.gains = GAINS[gains](dim if weighed_first else self.far.out_features)
        self.response = Response(dim, self.bases, identity=local == "values")
        self.second = Response(dim, other) if far_too else None
        self.gate_conv = ChannelsFirst(depthwise(dim, near_gate)) if near_gate else None
        self.gate_bias = nn.Parameter(torch.zeros(dim))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Mixed tokens."""
        s_BUVC = dct2(x_BHWC)
        if self.weighed_first:
            s_BUVC = s_BUVC * self.gains(s_BUVC)
            x_BHWC = idct2(s_BUVC)
            s_BUVC = self.far(s_BUVC)
        else:
            s_BUVC = self.far(s_BUVC)
            s_BUVC = s_BUVC * self.gains(s_BUVC)
        near = self.near(x_BHWC)
        near = self.conv(near) if self.local == "values" else near + self.conv(near)
        grid, dim = s_BUVC.shape[1:3], len(self.gate_bias)
        far = synthesised(s_BUVC[..., :dim] * self.response(*grid), self.bases)
        if self.second is not None:
            near = near + synthesised(s_BUVC[..., dim:] * self.second(*grid), self.second.bases)
        values, gate = (near, far) if self.local == "values" else (far, near)
        if self.gate_conv is not None:
            gate = gate + self.gate_conv(x_BHWC)
        return self.out_proj(self.norm(values) * silu(gate + self.gate_bias))


def gated_mlp(dim: int, ratio: float) -> nn.Module:
    """That of the default block, of ``ratio`` times the channels."""
    return SwiGLU(dim, int(ratio * dim), act_layer=nn.GELU)


class WithGatedMlp(nn.Module):
    """A mixer and a gated MLP side by side, for a block of one branch, as `dsmixer.layers.SpectrumBlock` has them."""

    def __init__(self, mixer: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.mixer, self.mlp = mixer, mlp

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Mixed tokens."""
        return self.mixer(x_BHWC) + self.mlp(x_BHWC)


class Whole(nn.Module):
    """A block of one branch in two projections: a part of the channels mixed, the others gated as in MambaOut.

    Args:
        dim: channels.
        mixed: of values and of the gate, as a share of ``dim``.
        hidden: channels gated by GELU without being mixed, as a multiple of ``dim``.
        far: what the spectrum filters: "both" values and gate, "values", or "none".
        near: what the convolutions filter: the mixer's "input" or its "projection".
        kernel: side of the convolutions.
        weighed_first: the gains are of the mixer's input.
        bases: synthesis of the values, as in `Trial`.
        near_speed: how much faster the convolutions learn than other layers.
    """

    def __init__(
        self,
        dim: int,
        *,
        mixed: float = 1.0,
        hidden: float = 5 / 3,
        far: Literal["both", "values", "none"] = "both",
        near: Literal["input", "projection"] = "input",
        kernel: int = 3,
        weighed_first: bool = False,
        bases: Literal["mixed", "cosine", "axes"] = "mixed",
        near_speed: float = 1.0,
    ) -> None:
        super().__init__()
        self.near, self.far, self.weighed_first = near, far, weighed_first
        self.m, self.h = m, h = int(mixed * dim) // 4 * 4, int(hidden * dim)
        self.up = nn.Linear(dim, 2 * h if weighed_first else 2 * m + 2 * h)
        self.spectral = nn.Linear(dim, 2 * m, bias=False) if weighed_first else None
        convs = [ChannelsFirst(depthwise(m, kernel)) for _ in range(2)]
        self.convs = nn.ModuleList(convs if near_speed == 1 else [Faster(conv, near_speed) for conv in convs])
        weighed = dim if weighed_first else {"both": 2 * m, "values": m, "none": 0}[far]
        self.gains = DynamicGains(weighed) if weighed else None
        self.bases = BASES[bases]
        values = AxisResponse(m) if bases == "axes" else Response(m, self.bases)
        self.values_response = values if weighed else None
        self.gate_response = Response(m, identity=True) if far == "both" else None
        self.norm = nn.LayerNorm(m, eps=1e-6)
        self.down = nn.Linear(m + h, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Mixed tokens."""
        if self.weighed_first:
            s_BUVC = dct2(x_BHWC)
            v, z = self._filtered(self.spectral(s_BUVC * self.gains(s_BUVC)))
            near_v = near_z = x_BHWC[..., : self.m]
            g, u = self.up(x_BHWC).chunk(2, -1)
        else:
            v, z, g, u = self.up(x_BHWC).split([self.m, self.m, self.h, self.h], -1)
            near_v, near_z = (x_BHWC[..., : self.m],) * 2 if self.near == "input" else (v, z)
            if self.far == "both":
                s_BUVC = dct2(torch.cat([v, z], -1))
                v, z = self._filtered(s_BUVC * self.gains(s_BUVC))
            elif self.far == "values":
                s_BUVC = dct2(v)
                s_BUVC = s_BUVC * self.gains(s_BUVC) * self.values_response(*s_BUVC.shape[1:3])
                v = synthesised(s_BUVC, self.bases)
        v, z = v + self.convs[0](near_v), z + self.convs[1](near_z)
        return self.down(torch.cat([self.norm(v) * silu(z), gelu(g) * u], -1))

    def _filtered(self, s_BUVC: Tensor) -> tuple[Tensor, Tensor]:
        v, z = s_BUVC.chunk(2, -1)
        grid = s_BUVC.shape[1:3]
        v = synthesised(v * self.values_response(*grid), self.bases)
        return v, synthesised(z * self.gate_response(*grid), COSINE)
