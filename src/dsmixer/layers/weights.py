"""Spectrum weights: a static response that is learned, times dynamic gains that are generated for every image.

Layout: B batch, U V frequencies of height and width, C channels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsmixer.spectral import polynomial_response, ring_powers, ring_weights, spectrum_weights
from dsmixer.spectral.constants import DIRECT, Constants, at_least_float32

# Added to a power before its logarithm: 1 % of the unit variance that normalised tokens have.
POWER_FLOOR = 1e-2
# Standard deviation of the initial polynomial coefficients.
COEFFICIENT_STD = 0.15


class StaticResponse(nn.Module):
    """One smooth response per channel, the same for every image, evaluated at any size.

    A polynomial of cosines of ω (a small FIR filter, local in space) plus one weight per band (global in space). It
    starts as a small random filter; the last ``identity`` channels, as one plus such a filter.
    """

    def __init__(self, dim: int, *, num_bands: int = 6, num_terms: int = 4, identity: int = 0) -> None:
        super().__init__()
        self.identity = identity
        self.coefficients = nn.Parameter(torch.empty(num_terms, num_terms, dim))
        self.band_weights = nn.Parameter(torch.empty(num_bands, num_bands, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random filters, no preference for a band."""
        nn.init.normal_(self.coefficients, std=COEFFICIENT_STD)
        with torch.no_grad():
            self.coefficients[0, 0, self.coefficients.shape[-1] - self.identity :] += 1
        nn.init.zeros_(self.band_weights)

    def forward(self, height: int, width: int, constants: Constants = DIRECT) -> Float[Tensor, "u v c"]:
        """Response at the frequencies of a ``height`` × ``width`` grid."""
        polynomial = polynomial_response(self.coefficients, height, width, ("cosine", "cosine"), constants)
        return polynomial + spectrum_weights(self.band_weights[None], height, width, constants)[0]


class DynamicGains(nn.Module):
    """The dynamic spectrum weight generation layer: a gain per image, ring of frequencies and channel, from its power.

        gain = (P + ε)^(-α/2),  1 for the mean of the tokens

    P is the mean power of the channel in the ring, see `dsmixer.spectral.ring_powers`; α is learned for each ring and
    channel. α = 0 is static; α = 1 gives the ring unit power, whatever the image holds; between them, a band that the
    image is rich in is diminished and a faint one emphasised, the more so the larger α. No gain waits for another layer
    to learn first, and none saturates.
    """

    def __init__(self, dim: int, *, num_bands: int = 6) -> None:
        super().__init__()
        self.num_bands = num_bands
        self.exponents = nn.Parameter(torch.empty(num_bands - 1, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Half-way between a static mixer and rings of equal power."""
        nn.init.constant_(self.exponents, 0.5)

    def forward(self, s_BUVC: Float[Tensor, "b u v c"], constants: Constants = DIRECT) -> Float[Tensor, "b u v c"]:
        """Gains for the spectrum ``s`` of each image, in its dtype: float32 or better, or bfloat16."""
        height, width = s_BUVC.shape[1:3]
        # The whole spectrum stays in its dtype, and a product sums in float32; only what is small is computed wider.
        rings_BKC = ring_powers(s_BUVC.square(), self.num_bands, constants)[:, 1:]
        rings_BKC = rings_BKC.to(at_least_float32(s_BUVC.dtype))
        gains_BKC = torch.exp(-0.5 * self.exponents.to(rings_BKC.dtype) * torch.log(rings_BKC + POWER_FLOOR))
        gains_BKC = torch.cat([torch.ones_like(gains_BKC[:, :1]), gains_BKC], 1)
        return ring_weights(gains_BKC.to(s_BUVC.dtype), height, width, constants)


class SpectrumWeights(nn.Module):
    """Weigh a spectrum by static response × dynamic gains."""

    def __init__(self, dim: int, *, num_bands: int = 6, num_terms: int = 4, identity: int = 0) -> None:
        super().__init__()
        self.response = StaticResponse(dim, num_bands=num_bands, num_terms=num_terms, identity=identity)
        self.gains = DynamicGains(dim, num_bands=num_bands)

    def forward(self, s_BUVC: Float[Tensor, "b u v c"], constants: Constants = DIRECT) -> Float[Tensor, "b u v c"]:
        """The weighted spectrum."""
        response = self.response(*s_BUVC.shape[1:3], constants)
        return s_BUVC * self.gains(s_BUVC, constants) * response.to(s_BUVC.dtype)
