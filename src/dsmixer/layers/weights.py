"""Spectrum weights: a static response that is learned, times dynamic gains that are generated for every image.

Layout: B batch, U V frequencies of height and width, K L bands of height and width, G channel groups, C channels.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsmixer.spectral import band_powers, polynomial_response, spectrum_weights
from dsmixer.spectral.constants import DIRECT, Constants, at_least_float32, tensor_length
from dsmixer.spectral.dct import Basis

Content = Literal["bands", "mean", "both"]

# Added to a power before its logarithm: 1 % of the unit variance that normalised tokens have.
POWER_FLOOR = 1e-2
# Standard deviation of the initial polynomial coefficients.
COEFFICIENT_STD = 0.15


class StaticResponse(nn.Module):
    """One smooth response per channel, the same for every image, evaluated at any size.

    A trigonometric polynomial of ω (a small FIR filter, local in space) plus one weight per band (global in space).
    The channels are split evenly over ``bases``, the pairs of synthesis bases over (height, width).
    """

    def __init__(
        self, dim: int, bases: tuple[tuple[Basis, Basis], ...], *, num_bands: int = 6, num_terms: int = 4
    ) -> None:
        super().__init__()
        self.bases = bases
        self.num_bands = num_bands
        self.coefficients = nn.Parameter(torch.empty(num_terms, num_terms, dim))
        self.band_weights = nn.Parameter(torch.empty(num_bands, num_bands, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random filters, no preference for a band."""
        nn.init.normal_(self.coefficients, std=COEFFICIENT_STD)
        nn.init.zeros_(self.band_weights)

    def forward(self, height: int, width: int, constants: Constants = DIRECT) -> Float[Tensor, "u v c"]:
        """Response at the frequencies of a ``height`` × ``width`` grid."""
        groups = self.coefficients.chunk(len(self.bases), -1)
        pairs = zip(groups, self.bases, strict=True)
        polynomials = [polynomial_response(group, height, width, bases, constants) for group, bases in pairs]
        return torch.cat(polynomials, -1) + spectrum_weights(self.band_weights[None], height, width, constants)[0]


class DynamicGains(nn.Module):
    """The dynamic spectrum weight generation layer: one gain per image, band and channel group.

    Two layers read the logarithm of the spectrum's own mean power in every band and group, normalised over all of them
    (``content="bands"``), the mean of every channel (``"mean"``), or both, and return ``2·sigmoid(·)``: bounded to
    (0, 2), exactly 1 at initialisation.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_bands: int = 6,
        num_groups: int = 8,
        hidden_dim: int = 32,
        content: Content = "both",
    ) -> None:
        super().__init__()
        if dim % num_groups:
            raise ValueError(f"dim {dim} does not divide into {num_groups} channel groups")
        if content not in ("bands", "mean", "both"):
            raise ValueError(f"content {content!r} is unknown; use 'bands', 'mean' or 'both'")
        self.num_bands = num_bands
        self.num_groups = num_groups
        num_gains = num_bands**2 * num_groups
        self.from_bands = None
        if content != "mean":
            self.from_bands = nn.Sequential(nn.LayerNorm(num_gains, eps=1e-6), nn.Linear(num_gains, hidden_dim))
        self.from_mean = nn.Linear(dim, hidden_dim, bias=content == "mean") if content != "bands" else None
        self.act = nn.GELU()
        self.to_gains = nn.Linear(hidden_dim, num_gains)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every gain is 1 whatever the content."""
        nn.init.zeros_(self.to_gains.weight)
        nn.init.zeros_(self.to_gains.bias)

    def forward(self, s_BUVC: Float[Tensor, "b u v c"], constants: Constants = DIRECT) -> Float[Tensor, "b k l g"]:
        """Gains for the spectrum ``s`` of each image."""
        dtype = self.to_gains.weight.dtype
        hidden = torch.zeros((), dtype=dtype, device=s_BUVC.device)
        if self.from_bands is not None:
            hidden = hidden + self.from_bands(self._log_powers(s_BUVC, constants).flatten(1).to(dtype))
        if self.from_mean is not None:
            hidden = hidden + self.from_mean(_token_mean(s_BUVC).to(dtype))
        gains = 2 * torch.sigmoid(self.to_gains(self.act(hidden)))
        return gains.unflatten(-1, (self.num_bands, self.num_bands, self.num_groups))

    def _log_powers(self, s_BUVC: Tensor, constants: Constants) -> Tensor:
        grouped = s_BUVC.unflatten(-1, (self.num_groups, -1))
        # A norm reduces in one pass, without the squares in memory; float32, for bfloat16 sums would lose small bands.
        norm_BUVG = torch.linalg.vector_norm(grouped, dim=-1, dtype=at_least_float32(s_BUVC.dtype))
        powers = band_powers(norm_BUVG.square() / grouped.shape[-1], self.num_bands, constants)
        return torch.log(powers + POWER_FLOOR)


def _token_mean(s_BUVC: Tensor) -> Tensor:
    """Mean of every channel over the tokens, from the DC coefficient √(hw)·mean."""
    height, width = s_BUVC.shape[1:3]
    area = tensor_length(height, s_BUVC.device) * tensor_length(width, s_BUVC.device)
    return s_BUVC[:, 0, 0] * area.float().rsqrt().to(s_BUVC.dtype)


class SpectrumWeights(nn.Module):
    """Weigh a spectrum by static response × dynamic gains. Never larger than (batch, U, V, groups) for the weights."""

    def __init__(self, response: StaticResponse, gains: DynamicGains | None) -> None:
        super().__init__()
        self.response = response
        self.gains = gains

    def forward(self, s_BUVC: Float[Tensor, "b u v c"], constants: Constants = DIRECT) -> Float[Tensor, "b u v c"]:
        """The weighted spectrum."""
        height, width = s_BUVC.shape[1:3]
        weighted = s_BUVC * self.response(height, width, constants).to(s_BUVC.dtype)
        if self.gains is None:
            return weighted
        weights_BUVG = spectrum_weights(self.gains(s_BUVC, constants), height, width, constants).to(s_BUVC.dtype)
        grouped = weighted.unflatten(-1, (weights_BUVG.shape[-1], -1))
        return (grouped * weights_BUVG[..., None]).flatten(-2)
