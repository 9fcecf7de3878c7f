"""Ways to generate gains for the spectrum of every image: (B, U, V, C) to something that multiplies it.

Layout: B batch, U V frequencies, K L bands of height and width, G channel groups, C channels.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from dsmixer.layers.weights import POWER_FLOOR, DynamicGains
from dsmixer.spectral import band_matrix, band_powers, spectrum_weights

NUM_BANDS = 6
NUM_RINGS = 4


class NoGains(nn.Module):
    """Static."""

    def forward(self, s_BUVC: Tensor) -> float:
        return 1.0


class DefaultGains(nn.Module):
    """`DynamicGains`, one for every channel."""

    def __init__(self, dim: int, num_groups: int = 8) -> None:
        super().__init__()
        self.gains = DynamicGains(dim, num_groups=num_groups)

    def forward(self, s_BUVC: Tensor) -> Tensor:
        return per_channel(self.gains(s_BUVC), s_BUVC.shape[-1])


class MlpGains(nn.Module):
    """The default before this study: 2·sigmoid of an MLP that reads all log band powers, normalised, and all means."""

    def __init__(self, dim: int, num_groups: int = 8, hidden_dim: int = 32) -> None:
        super().__init__()
        self.num_groups = num_groups
        num_gains = NUM_BANDS**2 * num_groups
        self.from_bands = nn.Sequential(nn.LayerNorm(num_gains, eps=1e-6), nn.Linear(num_gains, hidden_dim))
        self.from_mean = nn.Linear(dim, hidden_dim, bias=False)
        self.to_gains = nn.Linear(hidden_dim, num_gains)

    def reset_parameters(self) -> None:
        """Every gain is 1."""
        nn.init.zeros_(self.to_gains.weight)
        nn.init.zeros_(self.to_gains.bias)

    def forward(self, s_BUVC: Tensor) -> Tensor:
        height, width, dim = s_BUVC.shape[1:]
        powers = band_powers(s_BUVC.unflatten(-1, (self.num_groups, -1)).square().mean(-1), NUM_BANDS)
        mean = s_BUVC[:, 0, 0] / math.sqrt(height * width)
        hidden = self.from_bands(torch.log(powers + POWER_FLOOR).flatten(1)) + self.from_mean(mean)
        gains = 2 * torch.sigmoid(self.to_gains(gelu(hidden)))
        gains_BKLG = gains.unflatten(-1, (NUM_BANDS, NUM_BANDS, self.num_groups))
        return per_channel(spectrum_weights(gains_BKLG, height, width), dim)


class RingGains(nn.Module):
    """Of every channel and ring, its own power to the power of -α/2, α learned.

    Ring k holds the pairs of bands whose higher one is k; ring 0 is the mean of the tokens.
    """

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.exponents = nn.Parameter(torch.full((NUM_RINGS, dim), start))

    def forward(self, s_BUVC: Tensor) -> Tensor:
        height, width = s_BUVC.shape[1:3]
        rings = ring_matrix(height, width, s_BUVC)
        count = torch.cat([torch.full_like(rings[:1, 0, 0], height * width), rings[1:].sum((1, 2))])
        powers = torch.einsum("kuv,buvc->bkc", rings / count[:, None, None], s_BUVC.square())
        gains = torch.exp(-0.5 * self.exponents * torch.log(powers + POWER_FLOOR))
        return torch.einsum("bkc,kuv->buvc", gains, rings)


def ring_matrix(height: int, width: int, like: Tensor) -> Tensor:
    """(K, U, V): how much of each frequency belongs to each ring; over the rings it adds up to 1."""
    up_to_h, up_to_w = (band_matrix(n, NUM_RINGS, like).cumsum(0) for n in (height, width))
    up_to = up_to_h[:, :, None] * up_to_w[:, None]
    return torch.cat([up_to[:1], up_to.diff(dim=0)])


class BandGains(nn.Module):
    """Of every group and pair of bands, its own power to the power of -α/2, α learned, 1/2 at the start."""

    def __init__(self, dim: int, num_groups: int = 16) -> None:
        super().__init__()
        self.exponents = nn.Parameter(torch.full((NUM_BANDS, NUM_BANDS, num_groups), 0.5))

    def forward(self, s_BUVC: Tensor) -> Tensor:
        powers = band_powers(s_BUVC.unflatten(-1, (self.exponents.shape[-1], -1)).square().mean(-1), NUM_BANDS)
        gains = torch.exp(-0.5 * self.exponents * torch.log(powers + POWER_FLOOR))
        return per_channel(spectrum_weights(gains, *s_BUVC.shape[1:3]), s_BUVC.shape[-1])


def per_channel(weights_BUVG: Tensor, dim: int) -> Tensor:
    """One weight a group to one a channel."""
    return weights_BUVG.repeat_interleave(dim // weights_BUVG.shape[-1], -1)


GAINS: dict[str, Callable[[int], nn.Module]] = {
    "default": DefaultGains,
    "default, 4 times the groups": partial(DefaultGains, num_groups=32),
    "none": lambda dim: NoGains(),
    "mlp": MlpGains,
    "rings": lambda dim: RingGains(dim, 0.5),
    "rings from 0": lambda dim: RingGains(dim, 0.0),
    "bands": BandGains,
}
