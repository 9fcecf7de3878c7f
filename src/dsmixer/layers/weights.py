"""Spectrum weights: a static response that is learned, times dynamic gains that are generated for every image.

Layout: B batch, U V frequencies of height and width, K L bands of height and width, G channel groups, C channels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsmixer.spectral import band_powers, polynomial_response, spectrum_weights
from dsmixer.spectral.constants import DIRECT, Constants, at_least_float32
from dsmixer.spectral.dct import Basis

# Added to a power before its logarithm: 1 % of the unit variance that normalised tokens have.
POWER_FLOOR = 1e-2
# Standard deviation of the initial polynomial coefficients.
COEFFICIENT_STD = 0.15
# Initial exponent of the gains: halfway between leaving a band as it is (0) and equal power in all bands (1).
EXPONENT = 0.5


class StaticResponse(nn.Module):
    """One smooth response per channel, the same for every image, evaluated at any size.

    A trigonometric polynomial of ω (a small FIR filter, local in space) plus one weight per band (global in space).
    The channels are split evenly over ``bases``, the pairs of synthesis bases over (height, width). It starts as a
    small random filter; with ``identity``, as one plus such a filter.
    """

    def __init__(
        self,
        dim: int,
        bases: tuple[tuple[Basis, Basis], ...],
        *,
        num_bands: int = 6,
        num_terms: int = 4,
        identity: bool = False,
    ) -> None:
        super().__init__()
        self.bases = bases
        self.identity = identity
        self.coefficients = nn.Parameter(torch.empty(num_terms, num_terms, dim))
        self.band_weights = nn.Parameter(torch.empty(num_bands, num_bands, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random filters, no preference for a band."""
        nn.init.normal_(self.coefficients, std=COEFFICIENT_STD)
        if self.identity:
            with torch.no_grad():
                self.coefficients[0, 0] += 1
        nn.init.zeros_(self.band_weights)

    def forward(self, height: int, width: int, constants: Constants = DIRECT) -> Float[Tensor, "u v c"]:
        """Response at the frequencies of a ``height`` × ``width`` grid."""
        groups = self.coefficients.chunk(len(self.bases), -1)
        pairs = zip(groups, self.bases, strict=True)
        polynomials = [polynomial_response(group, height, width, bases, constants) for group, bases in pairs]
        return torch.cat(polynomials, -1) + spectrum_weights(self.band_weights[None], height, width, constants)[0]


class DynamicGains(nn.Module):
    """The dynamic spectrum weight generation layer: one gain per image, band and channel group, made by the band's power.

        gain = (P + ε)^(-α/2)        P: the image's mean power in the band and group; α: learned for each of them

    α > 0 diminishes a band where the image has much of it and emphasises it where the image has little; at α = 1 every
    band leaves with the same power (whitening); at α = 0 the gain is 1; α < 0 sharpens. Starts at 1/2. Automatic gain
    control: no gain depends on anything but its own band, so nothing saturates and nothing has to be learned first.
    """

    def __init__(self, dim: int, *, num_bands: int = 6, num_groups: int = 16) -> None:
        super().__init__()
        if dim % num_groups:
            raise ValueError(f"dim {dim} does not divide into {num_groups} channel groups")
        self.exponents = nn.Parameter(torch.empty(num_bands, num_bands, num_groups))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every exponent at `EXPONENT`."""
        nn.init.constant_(self.exponents, EXPONENT)

    def forward(self, s_BUVC: Float[Tensor, "b u v c"], constants: Constants = DIRECT) -> Float[Tensor, "b k l g"]:
        """Gains for the spectrum ``s`` of each image, in float32 or better."""
        num_bands, _, num_groups = self.exponents.shape
        grouped = s_BUVC.unflatten(-1, (num_groups, -1))
        # A norm reduces in one pass, without the squares in memory; float32, for bfloat16 sums would lose small bands.
        norm_BUVG = torch.linalg.vector_norm(grouped, dim=-1, dtype=at_least_float32(s_BUVC.dtype))
        powers = band_powers(norm_BUVG.square() / grouped.shape[-1], num_bands, constants)
        return torch.exp(-0.5 * self.exponents.to(powers.dtype) * torch.log(powers + POWER_FLOOR))


class SpectrumWeights(nn.Module):
    """Weigh a spectrum by static response × dynamic gains. Never larger than (batch, U, V, groups) for the weights."""

    def __init__(self, responses: list[StaticResponse], gains: DynamicGains) -> None:
        super().__init__()
        self.responses = nn.ModuleList(responses)
        self.gains = gains

    def forward(self, s_BUVC: Float[Tensor, "b u v c"], constants: Constants = DIRECT) -> Float[Tensor, "b u v c"]:
        """The weighted spectrum; the responses lie side by side over its channels."""
        height, width = s_BUVC.shape[1:3]
        response = torch.cat([response(height, width, constants) for response in self.responses], -1)
        weights_BUVG = spectrum_weights(self.gains(s_BUVC, constants), height, width, constants).to(s_BUVC.dtype)
        grouped = (s_BUVC * response.to(s_BUVC.dtype)).unflatten(-1, (weights_BUVG.shape[-1], -1))
        return (grouped * weights_BUVG[..., None]).flatten(-2)
