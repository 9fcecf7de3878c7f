"""Spectrum weights: a static response that is learned, times dynamic gains that are generated for every image.

Layout: B batch, U V frequencies of height and width, G channel groups, C channels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsmixer.spectral import polynomial_response, spectrum_weights
from dsmixer.spectral.constants import DIRECT, Constants, at_least_float32, tensor_length
from dsmixer.spectral.dct import Basis

# Added to a power before its logarithm: 1 % of the unit variance that normalised tokens have.
POWER_FLOOR = 1e-2
# Standard deviation of the initial polynomial coefficients.
COEFFICIENT_STD = 0.15


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
    """The dynamic spectrum weight generation layer: a gain per image, frequency and channel group, made by its power.

        gain = ((P + ε) / (A + ε))^γ

    P is the mean power of the frequency in the group, P(0, 0) divided by the number of tokens, so that it is the
    squared mean; A its average over all other frequencies, the variance of the tokens; γ is learned for each group and
    band, and smooth between bands. γ > 0 emphasises what the image is rich in and diminishes the rest; γ < 0 evens the
    spectrum out; γ = 0, the start, is static. No gain waits for another layer to learn first, and none saturates.
    """

    def __init__(self, dim: int, *, num_bands: int = 6, num_groups: int = 8) -> None:
        super().__init__()
        if dim % num_groups:
            raise ValueError(f"dim {dim} does not divide into {num_groups} channel groups")
        self.num_groups = num_groups
        self.exponents = nn.Parameter(torch.empty(num_bands, num_bands, num_groups))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every gain is 1 whatever the content."""
        nn.init.zeros_(self.exponents)

    def forward(self, s_BUVC: Float[Tensor, "b u v c"], constants: Constants = DIRECT) -> Float[Tensor, "b u v g"]:
        """Gains for the spectrum ``s`` of each image, in float32 or better."""
        log_ratio = torch.log(self._relative_power(s_BUVC))
        height, width = s_BUVC.shape[1:3]
        exponents = spectrum_weights(self.exponents[None].to(log_ratio.dtype), height, width, constants)
        return torch.exp(exponents * log_ratio)

    def _relative_power(self, s_BUVC: Tensor) -> Tensor:
        """(P + ε) / (A + ε)."""
        height, width, dim = s_BUVC.shape[1:]
        grouped = s_BUVC.unflatten(-1, (self.num_groups, -1))
        # A norm reduces in one pass, without the squares in memory; float32, for bfloat16 sums would lose small powers.
        norm_BUVG = torch.linalg.vector_norm(grouped, dim=-1, dtype=at_least_float32(s_BUVC.dtype))
        power = norm_BUVG.square() * (self.num_groups / dim)
        area = tensor_length(height, power.device) * tensor_length(width, power.device)
        is_mean = _is_zero(height, power)[:, None, None] * _is_zero(width, power)[:, None]
        average = (power * (1 - is_mean)).sum((1, 2), keepdim=True) / (area - 1).clamp(min=1)
        power = power * (1 - is_mean + is_mean / area)
        return (power + POWER_FLOOR) / (average + POWER_FLOOR)


def _is_zero(n: int, like: Tensor) -> Tensor:
    """(n,): 1 for frequency 0, 0 above."""
    return (torch.arange(n, device=like.device) == 0).to(like.dtype)


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
        weights_BUVG = self.gains(s_BUVC, constants).to(s_BUVC.dtype)
        grouped = (s_BUVC * response.to(s_BUVC.dtype)).unflatten(-1, (weights_BUVG.shape[-1], -1))
        return (grouped * weights_BUVG[..., None]).flatten(-2)
