"""The default mixer with one part exchanged, and controls: what `dsm-…` rows are.

Layout: B batch, H W token grid, U V frequencies, C channels.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from dsmixer.layers.weights import SpectrumWeights
from dsmixer.spectral import dct, dct2, idct, idct2, ring_weights
from dsmixer.spectral.constants import DIRECT, Constants
from studies.mixers.filters import Filter, TwoFilters
from studies.mixers.gains import GAINS, NUM_BANDS, Faster, emphasis, image_content
from studies.mixers.responses import BASES, COSINE, AxisResponse, Bases, Numbers, Response, synthesised

# How a filter's static response is made from (channels, side of the grid, whether it starts as the identity).
RESPONSES = {
    "polynomial": lambda dim, side, identity: Response(dim, bands=False, identity=identity),
    "bands": lambda dim, side, identity: Numbers(dim, identity=identity),
    "bins": lambda dim, side, identity: Numbers(dim, side, identity=identity),
    "std 0.05": lambda dim, side, identity: Response(dim, std=0.05, identity=identity),
    "std 0.3": lambda dim, side, identity: Response(dim, std=0.3, identity=identity),
    "fast 3": lambda dim, side, identity: Response(dim, speed=3.0, identity=identity),
    "fast 10": lambda dim, side, identity: Response(dim, speed=10.0, identity=identity),
    "axes": lambda dim, side, identity: AxisResponse(dim, COSINE * 2, identity=identity),
}


def exchanged(
    mixer: TwoFilters,
    side: int = 0,
    *,
    gains: str = "default",
    content: Literal["own", "other"] = "own",
    response: str = "default",
    values: Literal["default", "mixed", "all"] = "default",
    filters: Literal["default", "lines", "windows"] = "default",
    gate: Literal["own", "other", "plain", "none"] = "own",
    norm: bool = True,
    near_speed: float = 1.0,
    weighed: Literal["both", "values", "gate"] = "both",
) -> nn.Module:
    """The default mixer with other parts.

    Args:
        mixer: what is changed.
        side: of the token grid; a response per bin alone needs it.
        gains: of values and gate, see `studies.mixers.gains`.
        content: which image of the batch they are made from.
        response: the static one, see `RESPONSES`.
        values: synthesised by cosines and sines in four groups of channels, or all four in every channel.
        filters: half of the channels along the height alone, half along the width ("lines"); or 4 × 4 windows, filtered
            for themselves, for the convolutions.
        gate: of the image, of the next one of the batch, not filtered, or none.
        norm: whether the values are normalised.
        near_speed: how much faster the convolutions learn than other layers.
        weighed: what has gains.
    """
    for name, one in (("values", mixer.values), ("gate", mixer.gate)):
        dim, identity = one.proj.out_features, one.identity
        its_gains = gains if weighed in ("both", name) else "none"
        if (its_gains, content) != ("default", "own"):
            one.weights.gains = Gains(GAINS[its_gains](dim), content == "other")
        if response != "default":
            one.weights.response = RESPONSES[response](dim, side, identity)
        if near_speed != 1:
            one.near = Faster(one.near, near_speed)
    if values != "default":
        mixer.values = Synthesised(mixer.values, BASES[values], everywhere=values == "all")
    if filters == "lines":
        mixer.values, mixer.gate = Lines(mixer.values), Lines(mixer.gate)
    if filters == "windows":
        mixer.values.near, mixer.gate.near = (Windows(mixer.out_proj.in_features) for _ in range(2))
    if gate in GATES:
        mixer.gate = GATES[gate](mixer.gate)
    if not norm:
        mixer.norm = nn.Identity()
    return Ungated(mixer) if gate == "none" else mixer


class Gains(nn.Module):
    """Gains as `dsmixer.layers.SpectrumWeights` calls them, of an image's own spectrum or of the next one's."""

    def __init__(self, gains: nn.Module, of_other: bool) -> None:
        super().__init__()
        self.gains, self.of_other = gains, of_other

    def forward(self, s_BUVC: Tensor, constants: Constants = DIRECT) -> Tensor | float:
        return self.gains(s_BUVC.roll(1, 0) if self.of_other else s_BUVC)


class Synthesised(nn.Module):
    """A filter whose spectrum is synthesised by sines too.

    Args:
        of: the filter.
        bases: pairs of them; each has a group of the channels, or, ``everywhere``, a response for every channel.
        everywhere: see there.
    """

    def __init__(self, of: Filter, bases: Bases, *, everywhere: bool) -> None:
        super().__init__()
        dim = of.proj.out_features
        self.proj, self.gains, self.near = of.proj, of.weights.gains, of.near
        self.bases = [(pair,) for pair in bases] if everywhere else [bases]
        self.responses = nn.ModuleList(Response(dim, own) for own in self.bases)

    def forward(self, x_BHWC: Tensor, x_BUVC: Tensor) -> Tensor:
        """Filtered tokens."""
        s_BUVC = self.proj(x_BUVC)
        s_BUVC = s_BUVC * self.gains(s_BUVC)
        out = self.near(x_BHWC)
        for response, bases in zip(self.responses, self.bases, strict=True):
            out = out + synthesised(s_BUVC * response(*s_BUVC.shape[1:3]), bases)
        return out


class Lines(nn.Module):
    """Half of the channels filtered along the height alone, half along the width: one-dimensional spectra.

    Their gains come from the power of a ring of one axis, over all lines of the image.
    """

    def __init__(self, of: Filter) -> None:
        super().__init__()
        self.proj, self.near = of.proj, of.near
        half = of.proj.out_features // 2
        self.weights = nn.ModuleList(SpectrumWeights(half, identity=half if of.identity else 0) for _ in range(2))

    def forward(self, x_BHWC: Tensor, x_BUVC: Tensor) -> Tensor:
        """Filtered tokens; their two-dimensional spectrum is not used."""
        halves = zip(self.proj(x_BHWC).chunk(2, -1), (1, 2), self.weights, strict=True)
        return torch.cat([self._filtered(half, dim, weights) for half, dim, weights in halves], -1) + self.near(x_BHWC)

    def _filtered(self, y_BHWC: Tensor, dim: int, weights: SpectrumWeights) -> Tensor:
        s = dct(y_BHWC.contiguous(), dim)
        typical = s.square().mean(3 - dim, keepdim=True).add(1e-12).sqrt()
        grid = typical.shape[1:3]
        return idct(s * (weights.gains(typical) * weights.response(*grid)), dim)


class Windows(nn.Module):
    """A block DCT in the place of a convolution: windows of 4 × 4 tokens, each filtered by the same static response."""

    def __init__(self, dim: int, side: int = 4) -> None:
        super().__init__()
        self.side = side
        self.response = Numbers(dim, side)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Filtered tokens."""
        s_BUVC = dct2(into_windows(x_BHWC, self.side))
        return out_of_windows(idct2(s_BUVC * self.response(self.side, self.side)), x_BHWC.shape, self.side)


def into_windows(x: Tensor, side: int) -> Tensor:
    """(B, H, W, C) to (B · windows, side, side, C)."""
    b, h, w, c = x.shape
    return x.reshape(b, h // side, side, w // side, side, c).transpose(2, 3).reshape(-1, side, side, c)


def out_of_windows(x: Tensor, shape: torch.Size, side: int) -> Tensor:
    """Back to ``shape``."""
    b, h, w, _ = shape
    return x.reshape(b, h // side, w // side, side, side, -1).transpose(2, 3).reshape(b, h, w, -1)


class Generated(nn.Module):
    """The default mixer with gains that a narrow MLP generates for both filters at once.

        gains = exp(Linear(GELU(Linear([means, log ring powers])))),  a gain per filter, ring and group of channels

    It reads the mixer's input, its means channel by channel and its powers group by group, so that a gain may depend on
    everything that the image holds. It starts at 1, or as a static emphasis of the rings by so much an octave.

    ``of_other``: they are those of the next image of the batch.
    """

    def __init__(
        self,
        of: TwoFilters,
        *,
        of_other: bool = False,
        num_groups: int = 8,
        hidden_dim: int = 4,
        octave: float = 0.0,
    ) -> None:
        super().__init__()
        dim = of.out_proj.in_features
        self.of, self.of_other, self.num_groups, self.octave = of, of_other, num_groups, octave
        for one in (of.values, of.gate):
            one.weights.gains = nn.Identity()  # `forward` multiplies by its own
        self.hidden = nn.Linear(dim + NUM_BANDS * num_groups, hidden_dim)
        self.to_gains = nn.Linear(hidden_dim, 2 * NUM_BANDS * num_groups)

    def reset_parameters(self) -> None:
        """The same gains for all images."""
        nn.init.zeros_(self.to_gains.weight)
        with torch.no_grad():
            self.to_gains.bias.copy_(emphasis(self.octave).repeat_interleave(2 * self.num_groups))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Mixed tokens."""
        x_BUVC = dct2(x_BHWC)
        values, gate = (
            self._filtered(one, x_BHWC, x_BUVC, gains)
            for one, gains in zip((self.of.values, self.of.gate), self.gains(x_BUVC), strict=True)
        )
        return self.of.out_proj(self.of.norm(values) * silu(gate))

    def gains(self, x_BUVC: Tensor) -> tuple[Tensor, ...]:
        """(B, U, V, G, 1) for the values and for the gate."""
        height, width = x_BUVC.shape[1:3]
        read = image_content(x_BUVC, self.num_groups)
        gains_BKG = torch.exp(self.to_gains(gelu(self.hidden(read)))).unflatten(-1, (NUM_BANDS, -1))
        if self.of_other:
            gains_BKG = gains_BKG.roll(1, 0)
        return tuple(part[..., None] for part in ring_weights(gains_BKG, height, width).chunk(2, -1))

    def _filtered(self, one: Filter, x_BHWC: Tensor, x_BUVC: Tensor, gains: Tensor) -> Tensor:
        s_BUVC = one.proj(x_BUVC)
        s_BUVC = (s_BUVC.unflatten(-1, (self.num_groups, -1)) * gains).flatten(-2)
        return idct2(s_BUVC * one.weights.response(*s_BUVC.shape[1:3])) + one.near(x_BHWC)


class OtherImage(nn.Module):
    """A filter of the next image of the batch."""

    def __init__(self, of: Filter) -> None:
        super().__init__()
        self.of = of

    def forward(self, *args: Tensor) -> Tensor:
        return self.of(*args).roll(1, 0)


class Plain(nn.Module):
    """The token's own projection."""

    def __init__(self, of: Filter) -> None:
        super().__init__()
        self.proj = nn.Linear(of.proj.in_features, of.proj.out_features)

    def forward(self, x_BHWC: Tensor, *args: Any) -> Tensor:
        return self.proj(x_BHWC)


GATES: dict[str, type[nn.Module]] = {"other": OtherImage, "plain": Plain}


class Ungated(nn.Module):
    """Values alone: weights that no image changes but by its gains."""

    def __init__(self, of: TwoFilters) -> None:
        super().__init__()
        self.values, self.norm, self.out_proj = of.values, of.norm, of.out_proj

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Mixed tokens."""
        return self.out_proj(self.norm(self.values(x_BHWC, dct2(x_BHWC))))
