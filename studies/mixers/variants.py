"""Designs of the spectrum mixer that were tried: one module with every option, on the mathematics of the package.

Layout: B batch, H W token grid, U V frequencies, K bands, G channel groups, C channels.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from dsmixer.layers.mixer import GATE_BASES as COSINE_BASES
from dsmixer.layers.mixer import VALUE_BASES as MIXED_BASES
from dsmixer.layers.weights import StaticResponse
from dsmixer.spectral import band_matrix, band_powers, dct2, spectrum_weights, synthesis2
from dsmixer.spectral.dct import contract

FLOOR = 1e-2


class Trial(nn.Module):
    """Projections → DCT → static response × dynamic gains → synthesis → gate → projection, with options.

    Args:
        dim: channels.
        gains: what the spectrum is multiplied with. "bands": one gain per band and group of channels (`DynamicGains`);
            "channels": one per radial band and channel, from every channel's mean and power per radial band;
            "filters": the sum of ``num_filters`` static responses with weights from the same statistics;
            "none": static.
        shuffle: generate from another image of the batch (the control for content).
        symmetric: cosines alone.
        gate: "silu"; "context": its argument also gets a vector generated from the image's statistics; "mixed": the
            gate is filtered too; "none".
        std: standard deviation of the polynomial's coefficients at the start.
        norm: normalise the mixed values over channels before the gate.
        pre_act: GELU before the transform.
        num_terms: of the polynomial, per axis.
        window: side of the windows a block DCT works in; None for the whole grid.
        local: depthwise 3 × 3 of the values beside the spectrum.
    """

    def __init__(
        self,
        dim: int,
        gains: Literal["bands", "channels", "filters", "none"] = "bands",
        shuffle: bool = False,
        symmetric: bool = False,
        gate: Literal["silu", "context", "mixed", "none"] = "silu",
        std: float = 0.15,
        norm: bool | str = False,
        pre_act: bool = False,
        num_terms: int = 4,
        num_bands: int = 6,
        num_groups: int = 8,
        num_filters: int = 4,
        radial: int = 4,
        hidden_dim: int = 32,
        window: int | None = None,
        local: bool = False,
        conv: int = 0,
        alpha: float = 0.5,
        scale: float = 1.0,
        values: bool = True,
        out: bool = True,
        act: str = "silu",
        skip: bool = True,
    ) -> None:
        super().__init__()
        self.bases = COSINE_BASES if symmetric else MIXED_BASES
        self.kind, self.shuffle, self.gate, self.window, self.pre_act, self.std = (
            gains, shuffle, gate, window, pre_act, std,
        )
        self.values, self.skip = values, skip
        self.act = (lambda z: z) if act == "none" else getattr(torch.nn.functional, act)
        self.in_proj = nn.Linear(dim, dim if gate == "none" or not values else 2 * dim)
        mixed = 2 * dim if gate == "mixed" else dim
        self.static = StaticResponse(mixed, self.bases, num_bands=num_bands, num_terms=num_terms)
        if gains == "bands":
            self.dynamic = DynamicGains(mixed, num_bands=num_bands, num_groups=num_groups, hidden_dim=hidden_dim)
        elif gains == "channels":
            self.dynamic = ChannelGains(mixed, radial, hidden_dim, scale)
        elif gains == "power":
            self.dynamic = PowerGains(mixed, radial, alpha)
        elif gains == "filters":
            self.dynamic = Router(mixed, radial, hidden_dim, num_filters)
            self.others = nn.ModuleList(
                StaticResponse(mixed, self.bases, num_bands=num_bands, num_terms=num_terms) for _ in range(num_filters)
            )
        self.to_gate = Router(mixed, radial, hidden_dim, dim) if gate == "context" else None
        self.norm = nn.LayerNorm(dim, eps=1e-6) if norm else None
        self.where = norm
        self.norm2 = nn.LayerNorm(dim, eps=1e-6) if norm == "both" else None
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if local else None
        self.conv = nn.Conv2d(dim, dim, conv, padding=conv // 2, groups=dim) if conv else None
        self.out_proj = nn.Linear(dim, dim) if out else nn.Identity()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, StaticResponse):
                nn.init.normal_(module.coefficients, std=self.std)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x = self.in_proj(x_BHWC)
        v, z = (x, None) if self.gate in ("mixed", "none") else x.chunk(2, -1) if self.values else (x_BHWC, x)
        if self.pre_act:
            v = gelu(v)
        if self.conv is not None:
            v = self.conv(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y, context = self._mix(v)
        if self.local is not None:
            y = y + self.local(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if self.gate == "mixed":
            y, z = y.unflatten(-1, (-1, 2)).unbind(-1)
            if self.skip:
                z = z + x.unflatten(-1, (-1, 2))[..., 1]
        if self.norm is not None and self.where != "product":
            y = self.norm(y)
        if self.norm2 is not None:
            z = self.norm2(z)
        if z is not None:
            y = y * self.act(z if context is None else z + context[:, None, None])
        if self.where == "product":
            y = self.norm(y)
        return self.out_proj(y)

    def _mix(self, v: Tensor) -> tuple[Tensor, Tensor | None]:
        b, h, w, c = v.shape
        window = self.window if self.window and self.window < min(h, w) else None
        if window:
            v = v.reshape(b, h // window, window, w // window, window, c).transpose(2, 3).reshape(-1, window, window, c)
        s = dct2(v)
        content = s.roll(1, 0) if self.shuffle else s
        weighted = s * self._weights(s, content)
        groups = weighted.chunk(len(self.bases), -1)
        y = torch.cat([synthesis2(g, *bases) for g, bases in zip(groups, self.bases, strict=True)], -1)
        if window:
            y = y.reshape(b, h // window, w // window, window, window, c).transpose(2, 3).reshape(b, h, w, c)
        return y, None if self.to_gate is None else self.to_gate(content)

    def _weights(self, s: Tensor, content: Tensor) -> Tensor:
        h, w = s.shape[1:3]
        static = self.static(h, w) if self.conv is None else 1 + spectrum_weights(self.static.band_weights[None], h, w)[0]
        if self.kind == "none":
            return static
        if self.kind == "bands":
            weights = spectrum_weights(self.dynamic(content), h, w)
            return (static.unflatten(-1, (weights.shape[-1], -1)) * weights[..., None]).flatten(-2)
        if self.kind in ("channels", "power"):
            return static * self.dynamic(content)
        others = torch.stack([other(h, w) for other in self.others])
        return static + (self.dynamic(content) @ others.flatten(1)).unflatten(-1, (h, w, -1))


def radial_bands(h: int, w: int, radial: int, like: Tensor) -> Tensor:
    """(R, U, V): DC, then octaves of the radius; a bin belongs to the higher of its two bands."""
    over_h, over_w = (band_matrix(n, radial, like).cumsum(0) for n in (h, w))
    within = over_h[:, :, None] * over_w[:, None]
    return torch.cat([within[:1], within.diff(dim=0)])


class Statistics(nn.Module):
    """Mean and logarithm of the power in radial bands, of every channel, normalised, to a hidden vector."""

    def __init__(self, dim: int, radial: int, hidden_dim: int) -> None:
        super().__init__()
        self.radial = radial
        self.norm = nn.LayerNorm(dim * radial, eps=1e-6)
        self.from_powers = nn.Linear(dim * radial, hidden_dim)
        self.from_mean = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, s: Tensor) -> Tensor:
        h, w = s.shape[1:3]
        bands = radial_bands(h, w, self.radial, s)
        shares = bands / bands.sum((1, 2), keepdim=True)
        powers = torch.einsum("buvc,ruv->brc", s.square(), shares)
        powers = torch.cat([powers[:, :1] / (h * w), powers[:, 1:]], 1)
        mean = s[:, 0, 0] / math.sqrt(h * w)
        return gelu(self.from_powers(self.norm(torch.log(powers + FLOOR).flatten(1))) + self.from_mean(mean))


class Router(nn.Module):
    """Statistics to ``num_outputs`` numbers, 0 at the start."""

    def __init__(self, dim: int, radial: int, hidden_dim: int, num_outputs: int) -> None:
        super().__init__()
        self.statistics = Statistics(dim, radial, hidden_dim)
        self.out = nn.Linear(hidden_dim, num_outputs)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, s: Tensor) -> Tensor:
        return self.out(self.statistics(s))


class ChannelGains(nn.Module):
    """2·sigmoid gains of every channel in every radial band, spread over the spectrum."""

    def __init__(self, dim: int, radial: int, hidden_dim: int, scale: float) -> None:
        super().__init__()
        self.radial, self.scale = radial, scale
        self.router = Router(dim, radial, hidden_dim, radial * dim)

    def forward(self, s: Tensor) -> Tensor:
        gains = 2 * torch.sigmoid(self.scale * self.router(s)).unflatten(-1, (self.radial, -1))
        return torch.einsum("brc,ruv->buvc", gains, radial_bands(*s.shape[1:3], self.radial, s))


class PowerGains(nn.Module):
    """Every channel's gain in a radial band is its own power there to the power of -α/2, α learned: α = 1 whitens."""

    def __init__(self, dim: int, radial: int, alpha: float, num_groups: int = 0) -> None:
        super().__init__()
        self.radial, self.num_groups = radial, num_groups or dim
        self.alpha = nn.Parameter(torch.full((radial, self.num_groups), alpha))

    def forward(self, s: Tensor) -> Tensor:
        h, w = s.shape[1:3]
        bands = radial_bands(h, w, self.radial, s)
        powers = torch.einsum("buvc,ruv->brc", s.square() if self.num_groups == s.shape[-1] else s.unflatten(-1, (self.num_groups, -1)).square().mean(-1), bands / bands.sum((1, 2), keepdim=True))
        powers = torch.cat([powers[:, :1] / (h * w), powers[:, 1:]], 1)
        gains = torch.exp(-0.5 * self.alpha * torch.log(powers + FLOOR))
        return torch.einsum("brc,ruv->buvc", gains, bands)


class Dual(nn.Module):
    """DCT of the tokens, projection to values and gate in the spectrum, a response each, synthesis, norm, gate."""

    def __init__(
        self,
        dim: int,
        gains: str = "none",
        num_terms: int = 4,
        num_bands: int = 6,
        radial: int = 4,
        hidden_dim: int = 8,
        scale: float = 1.0,
        alpha: float = 0.5,
        gate_bases: str = "cosine",
        std: float = 0.15,
        shuffle: bool = False,
        expand: float = 1.0,
        local: bool = False,
        gates: int = 1,
        num_groups: int = 0,
        on: str = "both",
        norm: bool = True,
    ) -> None:
        super().__init__()
        inner = int(expand * dim) // 8 * 8
        self.gates = gates
        tokens_dim, dim = dim, inner
        self.std, self.shuffle = std, shuffle
        self.in_proj = nn.Linear(tokens_dim, (1 + gates) * dim, bias=False)
        self.gate_bias = nn.Parameter(torch.zeros(gates * dim))
        self.gate_bases = COSINE_BASES if gate_bases == "cosine" else MIXED_BASES
        self.values = StaticResponse(dim, MIXED_BASES, num_bands=num_bands, num_terms=num_terms)
        self.gate = StaticResponse(gates * dim, self.gate_bases, num_bands=num_bands, num_terms=num_terms)
        self.gains = None
        if gains == "channels":
            self.gains = ChannelGains(2 * dim, radial, hidden_dim, scale)
        elif gains == "power":
            self.gains = PowerGains(2 * dim if on == "both" else dim, radial, alpha, num_groups)
            self.on = on
        elif gains == "bandpower":
            self.gains = BandPowerGains(2 * dim, radial, alpha, num_groups)
        elif gains == "bins":
            self.gains = BinGains(2 * dim, num_bands, 8)
        self.norm = nn.LayerNorm(dim, eps=1e-6) if norm else nn.Identity()
        self.out_proj = nn.Linear(dim, tokens_dim)
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if local else None

    def reset_parameters(self) -> None:
        for module in (self.values, self.gate):
            nn.init.normal_(module.coefficients, std=self.std)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        h, w = x_BHWC.shape[1:3]
        s = self.in_proj(dct2(x_BHWC))
        response = torch.cat([self.values(h, w), 1 + self.gate(h, w)], -1)
        if self.gains is not None:
            content = s.roll(1, 0) if self.shuffle else s
            if getattr(self, "on", "both") == "values":
                v, z = response.chunk(2, -1)
                v = v * self.gains(content.chunk(2, -1)[0])
                response = torch.cat([v, z.expand(len(v), -1, -1, -1)], -1)
            else:
                gains = self.gains(content)
                if gains.shape[-1] < response.shape[-1]:
                    response = (response.unflatten(-1, (gains.shape[-1], -1)) * gains[..., None]).flatten(-2)
                else:
                    response = response * gains
        v, z = (s * response).tensor_split((s.shape[-1] // (1 + self.gates),), -1)
        y = torch.cat([synthesis2(g, *b) for g, b in zip(v.chunk(4, -1), MIXED_BASES, strict=True)], -1)
        zs = z.chunk(len(self.gate_bases), -1)
        z = torch.cat([synthesis2(g, *b) for g, b in zip(zs, self.gate_bases, strict=True)], -1)
        z = torch.nn.functional.silu(z + self.gate_bias)
        if self.local is not None:
            y = self.local(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = self.norm(y)
        for gate in z.chunk(self.gates, -1):
            y = y * gate if self.gates == 1 else y * (gate + 1)
        return self.out_proj(y)


class BinGains(nn.Module):
    """Gain of a bin and group: its power over the image's mean power, to a learned exponent per band and group.

    The exponent starts at 0 (static); positive sharpens (keeps the strong bins), negative whitens.
    """

    def __init__(self, dim: int, num_bands: int, num_groups: int) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.exponent = nn.Parameter(torch.zeros(num_bands, num_bands, num_groups))

    def forward(self, s: Tensor) -> Tensor:
        power = s.unflatten(-1, (self.num_groups, -1)).square().mean(-1)
        level = power[:, 1:, 1:].mean((1, 2), keepdim=True) if min(s.shape[1:3]) > 1 else power
        log_ratio = torch.log((power + FLOOR) / (level + FLOOR))
        exponent = spectrum_weights(self.exponent[None], *s.shape[1:3])[0]
        return torch.exp(exponent * log_ratio).repeat_interleave(s.shape[-1] // self.num_groups, -1)


class BandPowerGains(nn.Module):
    """As `PowerGains`, in bands of height × bands of width, for groups of channels."""

    def __init__(self, dim: int, num_bands: int, alpha: float, num_groups: int = 0) -> None:
        super().__init__()
        self.num_bands, self.num_groups = num_bands, num_groups or dim
        self.alpha = nn.Parameter(torch.full((num_bands, num_bands, self.num_groups), alpha))

    def forward(self, s: Tensor) -> Tensor:
        powers = s.square()
        if self.num_groups < s.shape[-1]:
            powers = powers.unflatten(-1, (self.num_groups, -1)).mean(-1)
        powers = band_powers(powers, self.num_bands)
        gains = torch.exp(-0.5 * self.alpha * torch.log(powers + FLOOR))
        return spectrum_weights(gains, *s.shape[1:3])
