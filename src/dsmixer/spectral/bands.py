"""Frequency bands that mean the same thing at every resolution.

A frequency is measured in cycles per token, f = k / 2n for row k of a length-n DCT, never in bin numbers. Band 0 of an
axis is DC alone; bands 1 … K - 1 are octaves, low to high: the last holds 1/4 … 1/2 cycles per token, the one below it
1/8 … 1/4, and so on; band 1 also takes everything lower. Neighbours overlap smoothly and all bands add up to one:

    band_0(f) = [f = 0],   band_j(f) = softmax_j(-(log2 f - c_j)² / 2σ²)  for f > 0,   c_{K-1} = -1.5, c_{j-1} = c_j - 1

The softmax of squared distances never reaches zero, so an octave without a bin of its own (a 7-token axis has nothing
below 1/14) reads the power of the bin nearest to it instead of nothing. In two dimensions a band is a pair of bands.

Where orientation does not matter, ring k holds the pairs whose higher band is k: ring 0 is the mean of the tokens
alone, the rings add up to one, and one that no frequency of a small grid comes near is empty.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dsmixer.spectral.constants import BOTH, DIRECT, GRID_CACHE_SIZE, Constants, constant, tensor_length
from dsmixer.spectral.dct import contract

# σ in octaves: a band falls from 90 % to 10 % over 0.54 octaves around its edge.
BAND_WIDTH = 0.35


def band_energies(s_BUVC: Float[Tensor, "b u v c"], num_bands: int) -> Float[Tensor, "b k l c"]:
    """Energy Σ s² in each band of height × band of width; over all bands it adds up to the energy of the tokens."""
    _require_bands(num_bands)
    return _over_bands(s_BUVC.square(), num_bands, _band_matrix, DIRECT)


def band_powers(
    p_BUVC: Float[Tensor, "b u v c"], num_bands: int, constants: Constants = DIRECT
) -> Float[Tensor, "b k l c"]:
    """Mean power per frequency in each band, from the power spectrum ``p`` = s²: comparable between resolutions.

    An orthonormal DCT spreads noise evenly, so its mean power per bin does not depend on the size; a DC line collects
    instead, so it is divided by the length: band (0, 0) reads the squared mean of the tokens.
    """
    _require_bands(num_bands)
    return _over_bands(p_BUVC, num_bands, _mean_matrix, constants)


def spectrum_weights(
    gains_BKLG: Float[Tensor, "b k l g"], height: int, width: int, constants: Constants = DIRECT
) -> Float[Tensor, "b u v g"]:
    """Weights for every frequency of a ``height`` × ``width`` spectrum from one gain per band: smooth in log frequency.

    Equal gains give equal weights, because the bands add up to one.
    """
    num_bands = gains_BKLG.shape[1]
    over_width = constants(_band_matrix, 1, width, gains_BKLG, num_bands).transpose(-1, -2)
    over_height = constants(_band_matrix, 0, height, gains_BKLG, num_bands).transpose(-1, -2)
    return contract(over_height, contract(over_width, gains_BKLG, 2), 1)


def ring_powers(
    p_BUVC: Float[Tensor, "b u v c"], num_bands: int, constants: Constants = DIRECT
) -> Float[Tensor, "b k c"]:
    """Mean power per frequency in each ring, from the power spectrum ``p``; of ring 0, the squared mean of the tokens.

    Comparable between resolutions, as `band_powers` are. An empty ring reads 0.
    """
    _require_bands(num_bands)
    means = constants(_ring_means, BOTH, tuple(p_BUVC.shape[1:3]), p_BUVC, num_bands)
    return contract(means, p_BUVC.flatten(1, 2), 1)


def ring_weights(
    gains_BKG: Float[Tensor, "b k g"], height: int, width: int, constants: Constants = DIRECT
) -> Float[Tensor, "b u v g"]:
    """Weights for every frequency of a ``height`` × ``width`` spectrum from one gain per ring."""
    rings = constants(_ring_matrix, BOTH, (height, width), gains_BKG, gains_BKG.shape[1])
    return contract(rings.transpose(0, 1), gains_BKG, 1).unflatten(1, (height, width))


def _over_bands(p_BUVC: Tensor, num_bands: int, matrix: Callable[..., Tensor], constants: Constants) -> Tensor:
    height, width = p_BUVC.shape[1:3]
    over_width = contract(constants(matrix, 1, width, p_BUVC, num_bands), p_BUVC, 2)
    return contract(constants(matrix, 0, height, p_BUVC, num_bands), over_width, 1)


def _require_bands(num_bands: int) -> None:
    if num_bands < 2:
        raise ValueError(f"num_bands is {num_bands}; at least 2 are needed, DC and everything above it")


def _log_octaves(n: int, dtype: torch.dtype, device: torch.device, num_bands: int) -> Tensor:
    """log band_j(f_k) for j ≥ 1; column 0 (DC) holds no band and is to be masked."""
    k = torch.arange(n, device=device)
    octave = torch.log2(k.clamp(min=1).to(dtype) / (2 * tensor_length(n, device)).to(dtype))
    center = torch.arange(1, num_bands, device=device).to(dtype) - (num_bands + 0.5)
    return torch.log_softmax(-(octave - center[:, None]).square() / (2 * BAND_WIDTH**2), 0)


def _bands(n: int, dtype: torch.dtype, device: torch.device, num_bands: int) -> Tensor:
    dc = (torch.arange(n, device=device) == 0).to(dtype)
    return torch.cat([dc[None], _log_octaves(n, dtype, device, num_bands).exp() * (1 - dc)])


def _rings(grid: tuple[int, int], dtype: torch.dtype, device: torch.device, num_bands: int) -> Tensor:
    """(rings, H · W): how much of each frequency belongs to each ring."""
    over_height, over_width = (_bands(n, dtype, device, num_bands) for n in grid)
    below = over_height.cumsum(0) - over_height
    pairs = over_height[:, :, None] * over_width.cumsum(0)[:, None] + below[:, :, None] * over_width[:, None]
    return pairs.flatten(1)


def _means(grid: tuple[int, int], dtype: torch.dtype, device: torch.device, num_bands: int) -> Tensor:
    """Rows of the ring matrix divided by how many frequencies they hold, row 0 by the number of tokens."""
    rings = _rings(grid, dtype, device, num_bands)
    tokens = tensor_length(grid[0], device) * tensor_length(grid[1], device)
    return rings / torch.cat([tokens.to(dtype)[None], rings[1:].sum(1).clamp(min=1e-6)])[:, None]


_band_matrix = constant(_bands)
_ring_matrix, _ring_means = constant(_rings, GRID_CACHE_SIZE), constant(_means, GRID_CACHE_SIZE)


@constant
def _mean_matrix(n: int, dtype: torch.dtype, device: torch.device, num_bands: int) -> Tensor:
    """Rows of the band matrix divided by their sums; in logarithms, for a band far from every bin underflows.

    The DC row is divided by the length. A length of 1 has no AC bin: those rows are 0.
    """
    dc = (torch.arange(n, device=device) == 0).to(dtype)
    octaves = torch.softmax(_log_octaves(n, dtype, device, num_bands) + dc * torch.finfo(dtype).min, 1) * (1 - dc)
    return torch.cat([dc[None] / tensor_length(n, device).to(dtype), octaves])
