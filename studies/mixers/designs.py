"""Designs of the spectrum mixer that were tried beside the default: one module, every option.

Without options it is `dsmixer.layers.SpectrumMixer`; a test says so.

Layout: B batch, H W token grid, U V frequencies, K bands, G channel groups, C channels.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from dsmixer.layers.mixer import GATE_BASES, VALUE_BASES
from dsmixer.layers.weights import COEFFICIENT_STD, StaticResponse
from dsmixer.spectral import Basis, dct2, polynomial_response, spectrum_weights, synthesis2
from studies.mixers.gains import GAINS
from studies.mixers.peers.convolution import ChannelsFirst, depthwise

NUM_BANDS = 6
Bases = tuple[tuple[Basis, Basis], ...]
# Half of the channels are filtered along the height alone, half along the width.
AXES: Bases = (("cosine", "cosine"), ("sine", "cosine"), ("cosine", "cosine"), ("cosine", "sine"))
BASES: dict[str, Bases] = {"mixed": VALUE_BASES, "cosine": GATE_BASES, "axes": AXES, "all": VALUE_BASES}


class Trial(nn.Module):
    """The default mixer with parts exchanged.

    Args:
        dim: channels.
        side: of the token grid; needed by a response per bin alone.
        gains: what the spectrum is multiplied with per image, see `studies.mixers.gains`.
        content: which image of the batch the gains are made from: "own", or "other" (the control).
        bases: synthesis of the values: "mixed" over channel groups, "cosine" alone, "all" four in every channel, or
            "axes": half of the channels filtered along the height alone, half along the width.
        gate: "filtered", "plain" (the token's own projection) or "none".
        response: "full" (polynomial and bands), "polynomial", "bands" or "bins" (a number per frequency and channel).
        num_terms, std: of the polynomials.
        norm: normalise the values before the gate.
        local: depthwise 3 × 3 convolution, zeros at the border, of the values.
        window: side of the windows of a block DCT; None for the whole grid.
    """

    def __init__(
        self,
        dim: int,
        side: int,
        *,
        gains: str = "default",
        content: Literal["own", "other"] = "own",
        bases: Literal["mixed", "cosine", "all", "axes"] = "mixed",
        gate: Literal["filtered", "plain", "none"] = "filtered",
        response: Literal["full", "polynomial", "bands", "bins"] = "full",
        num_terms: int = 4,
        std: float | None = None,
        norm: bool = True,
        local: bool = False,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.content, self.gate_kind, self.window, self.bases = content, gate, window, BASES[bases]
        self.in_proj = nn.Linear(dim, dim if gate == "none" else 2 * dim, bias=False)
        make = partial(Response, side=side, kind=response, num_terms=num_terms, std=std)
        if bases == "all":
            self.values = nn.ModuleList(make(dim, (pair,)) for pair in self.bases)
        elif bases == "axes":
            self.values = nn.ModuleList([AxisResponse(dim, num_terms)])
        else:
            self.values = nn.ModuleList([make(dim, self.bases)])
        self.gate = make(dim, GATE_BASES, identity=True) if gate == "filtered" else None
        self.gains = GAINS[gains](2 * dim if gate == "filtered" else dim)
        self.gate_bias = nn.Parameter(torch.zeros(dim)) if gate != "none" else None
        self.norm = nn.LayerNorm(dim, eps=1e-6) if norm else nn.Identity()
        self.local = ChannelsFirst(depthwise(dim, 3)) if local else nn.Identity()
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Mixed tokens."""
        window = self.window if self.window and self.window < min(x_BHWC.shape[1:3]) else None
        x = into_windows(x_BHWC, window) if window else x_BHWC
        y, z = self._mix(self.in_proj(dct2(x)))
        if window:
            y, z = (None if part is None else out_of_windows(part, x_BHWC.shape, window) for part in (y, z))
        y = self.norm(self.local(y))
        return self.out_proj(y if z is None else y * silu(z + self.gate_bias))

    def _mix(self, s_BUVC: Tensor) -> tuple[Tensor, Tensor | None]:
        """Values and the argument of the gate."""
        dim = self.out_proj.in_features
        if self.gate is None:  # a plain gate is not weighed
            v, z = s_BUVC[..., :dim], s_BUVC[..., dim:]
            v = v * self._gains(v)
        else:
            s_BUVC = s_BUVC * self._gains(s_BUVC)
            v, z = s_BUVC.chunk(2, -1)
            z = z * self.gate(*s_BUVC.shape[1:3])
        return self._values(v), synthesis2(z) if self.gate_kind != "none" else None

    def _gains(self, s_BUVC: Tensor) -> Tensor | float:
        return self.gains(s_BUVC if self.content == "own" else s_BUVC.roll(1, 0))

    def _values(self, v_BUVC: Tensor) -> Tensor:
        height, width = v_BUVC.shape[1:3]
        if len(self.values) > 1:  # every channel in all bases
            pairs = zip(self.values, self.bases, strict=True)
            return torch.stack([synthesis2(v_BUVC * r(height, width), *pair) for r, pair in pairs]).sum(0)
        groups = (v_BUVC * self.values[0](height, width)).chunk(len(self.bases), -1)
        return torch.cat([synthesis2(group, *pair) for group, pair in zip(groups, self.bases, strict=True)], -1)


class Response(nn.Module):
    """A static response, whole or in part. Every part starts with the same deviation per number of its own kind."""

    def __init__(
        self, dim: int, bases: Bases, side: int, kind: str, num_terms: int, std: float | None, identity: bool = False
    ) -> None:
        super().__init__()
        self.kind, self.bases, self.identity = kind, bases, identity
        self.std = std or {"full": COEFFICIENT_STD, "polynomial": COEFFICIENT_STD, "bands": 0.3, "bins": 0.3}[kind]
        shapes = {"bins": (side, side, dim), "bands": (NUM_BANDS, NUM_BANDS, dim)}
        self.learned = nn.Parameter(torch.empty(shapes.get(kind, (num_terms, num_terms, dim))))
        self.band_weights = nn.Parameter(torch.empty(shapes["bands"])) if kind == "full" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Around 0, or around the response that changes nothing."""
        nn.init.normal_(self.learned, std=self.std)
        with torch.no_grad():
            where = self.learned if self.kind in ("bins", "bands") else self.learned[0, 0]
            where += float(self.identity)
        if self.band_weights is not None:
            nn.init.zeros_(self.band_weights)

    def forward(self, height: int, width: int) -> Tensor:
        """(U, V, C)."""
        if self.kind == "bins":
            return self.learned
        if self.kind == "bands":
            return spectrum_weights(self.learned[None], height, width)[0]
        groups = zip(self.learned.chunk(len(self.bases), -1), self.bases, strict=True)
        response = torch.cat([polynomial_response(group, height, width, pair) for group, pair in groups], -1)
        if self.band_weights is None:
            return response
        return response + spectrum_weights(self.band_weights[None], height, width)[0]


class AxisResponse(nn.Module):
    """Four responses of one frequency each, in the order of `AXES`."""

    def __init__(self, dim: int, num_terms: int) -> None:
        super().__init__()
        quarters = ((("cosine", "cosine"),), (("sine", "cosine"),), (("cosine", "cosine"),), (("cosine", "sine"),))
        self.quarters = nn.ModuleList(StaticResponse(dim // 4, bases, num_terms=num_terms) for bases in quarters)

    def forward(self, height: int, width: int) -> Tensor:
        """(U, V, C)."""
        along_height = [quarter(height, 1).expand(-1, width, -1) for quarter in self.quarters[:2]]
        along_width = [quarter(1, width).expand(height, -1, -1) for quarter in self.quarters[2:]]
        return torch.cat(along_height + along_width, -1)


def into_windows(x: Tensor, side: int) -> Tensor:
    """(B, H, W, C) to (B · windows, side, side, C)."""
    b, h, w, c = x.shape
    return x.reshape(b, h // side, side, w // side, side, c).transpose(2, 3).reshape(-1, side, side, c)


def out_of_windows(x: Tensor, shape: torch.Size, side: int) -> Tensor:
    """Back to ``shape``."""
    b, h, w, _ = shape
    return x.reshape(b, h // side, w // side, side, side, -1).transpose(2, 3).reshape(b, h, w, -1)
