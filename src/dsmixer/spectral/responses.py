"""Static responses that are smooth in frequency: low-order trigonometric polynomials in ω, at any size.

cosine axis: f_j(ω) = cos(jω), j = 0 … T - 1        even filters with taps at most T - 1 tokens away
sine axis:   f_j(ω) = sin((j + 1)ω), j = 0 … T - 1  odd filters with taps at most T tokens away
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dsmixer.spectral.constants import DIRECT, Constants, constant, tensor_length
from dsmixer.spectral.dct import Basis, contract


def response_terms(n: int, num_terms: int, basis: Basis, like: Tensor) -> Float[Tensor, "t n"]:
    """The terms f_j at the frequencies ω = πk/n of a length-``n`` axis; ``like`` gives dtype and device."""
    return _terms(n, like, num_terms, basis)


def polynomial_response(
    coefficients_TTC: Float[Tensor, "t t c"],
    height: int,
    width: int,
    bases: tuple[Basis, Basis],
    constants: Constants = DIRECT,
) -> Float[Tensor, "u v c"]:
    """Response Σ_ij a_ij f_i(ω_u) f_j(ω_v) of every channel; ``bases`` of its synthesis over (height, width)."""
    num_terms = coefficients_TTC.shape[0]
    over_width = constants(_terms, 1, width, coefficients_TTC, num_terms, bases[1]).transpose(-1, -2)
    over_height = constants(_terms, 0, height, coefficients_TTC, num_terms, bases[0]).transpose(-1, -2)
    return contract(over_height, contract(over_width, coefficients_TTC, 1), 0)


@constant
def _terms(n: int, dtype: torch.dtype, device: torch.device, num_terms: int, basis: Basis) -> Tensor:
    size = tensor_length(n, device)
    j = torch.arange(num_terms, device=device)[:, None] + int(basis == "sine")
    angle = (j * torch.arange(n, device=device) % (2 * size)).to(dtype) * math.pi / size.to(dtype)
    return torch.cos(angle) if basis == "cosine" else torch.sin(angle)
