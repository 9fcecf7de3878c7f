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
from dsmixer.spectral import band_powers, ring_powers, ring_weights, spectrum_weights

NUM_BANDS = 6


def zero_(layer: nn.Linear) -> None:
    """What follows starts as if the layer were not there."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


class Faster(nn.Module):
    """A linear function of its input, whose weights learn ``speed`` times as fast as others."""

    def __init__(self, of: nn.Module, speed: float) -> None:
        super().__init__()
        self.of, self.speed = of, speed
        with torch.no_grad():
            for weight in of.parameters():
                weight.div_(speed)

    def forward(self, *args: Tensor) -> Tensor:
        return self.speed * self.of(*args)


def image_content(s_BUVC: Tensor, num_groups: int, num_rings: int = NUM_BANDS) -> Tensor:
    """(B, C + K·G): what a layer can read of an image, its means and the log power of each ring and group."""
    height, width = s_BUVC.shape[1:3]
    means = s_BUVC[:, 0, 0] / math.sqrt(height * width)
    powers = ring_powers(s_BUVC.square().unflatten(-1, (num_groups, -1)).mean(-1), num_rings)
    return torch.cat([means, torch.log(powers + POWER_FLOOR).flatten(1)], -1)


def emphasis(octave: float) -> Tensor:
    """(K): logarithms of gains that rise by so much an octave; that of the mean is 1."""
    return octave * torch.tensor([0.0, -2.0, -1.0, 0.0, 1.0, 2.0])


class NoGains(nn.Module):
    """Static."""

    def forward(self, s_BUVC: Tensor) -> float:
        return 1.0


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
        zero_(self.to_gains)

    def forward(self, s_BUVC: Tensor) -> Tensor:
        height, width, dim = s_BUVC.shape[1:]
        powers = band_powers(s_BUVC.unflatten(-1, (self.num_groups, -1)).square().mean(-1), NUM_BANDS)
        mean = s_BUVC[:, 0, 0] / math.sqrt(height * width)
        hidden = self.from_bands(torch.log(powers + POWER_FLOOR).flatten(1)) + self.from_mean(mean)
        gains = 2 * torch.sigmoid(self.to_gains(gelu(hidden)))
        gains_BKLG = gains.unflatten(-1, (NUM_BANDS, NUM_BANDS, self.num_groups))
        return per_channel(spectrum_weights(gains_BKLG, height, width), dim)


class RingGains(nn.Module):
    """`DynamicGains` with other parts: another start, a gain for the mean too, one gain for ``group`` channels.

    ``speed``: how much faster its exponents learn than other parameters.
    """

    def __init__(
        self,
        dim: int,
        *,
        start: float = 0.5,
        mean: bool = False,
        num_bands: int = NUM_BANDS,
        group: int = 1,
        speed: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_bands, self.speed = num_bands, speed
        self.first = 0 if mean else 1  # the first ring that has a gain
        self.exponents = nn.Parameter(torch.full((num_bands - self.first, dim // group), start / speed))

    def forward(self, s_BUVC: Tensor) -> Tensor:
        power_BUVG = s_BUVC.square().unflatten(-1, (self.exponents.shape[1], -1)).mean(-1)
        powers_BKG = ring_powers(power_BUVG, self.num_bands)[:, self.first :]
        gains_BKG = torch.exp(-0.5 * self.speed * self.exponents * torch.log(powers_BKG + POWER_FLOOR))
        gains_BKG = torch.cat([torch.ones_like(gains_BKG[:, : self.first]), gains_BKG], 1)
        return per_channel(ring_weights(gains_BKG, *s_BUVC.shape[1:3]), s_BUVC.shape[-1])


class ConstantPowers(DynamicGains):
    """`DynamicGains` whose powers are taken as constants in the backward pass."""

    def forward(self, s_BUVC: Tensor) -> Tensor:
        return super().forward(s_BUVC.detach())


class BatchGains(RingGains):
    """The static twin of `DynamicGains`: mean powers of the batch, in testing running means; all images alike."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.register_buffer("mean_powers", torch.ones(NUM_BANDS - 1, dim))

    def forward(self, s_BUVC: Tensor) -> Tensor:
        powers_KC = self.mean_powers
        if self.training:
            powers_KC = ring_powers(s_BUVC.square(), NUM_BANDS)[:, 1:].mean(0)
            with torch.no_grad():
                self.mean_powers.lerp_(powers_KC, 0.1)
        gains_KC = torch.exp(-0.5 * self.exponents * torch.log(powers_KC + POWER_FLOOR))
        gains_KC = torch.cat([torch.ones_like(gains_KC[:1]), gains_KC])
        return ring_weights(gains_KC[None], *s_BUVC.shape[1:3])


class BatchAndOwnGains(BatchGains):
    """Static gains from the powers of the batch, times the image's own power relative to them to the power of β/2."""

    def __init__(self, dim: int, start: float = 0.0) -> None:
        super().__init__(dim)
        self.own = nn.Parameter(torch.full((NUM_BANDS - 1, dim), start))

    def forward(self, s_BUVC: Tensor) -> Tensor:
        static = super().forward(s_BUVC)
        own_BKC = ring_powers(s_BUVC.square(), NUM_BANDS)[:, 1:]
        typical_KC = own_BKC.mean(0) if self.training else self.mean_powers
        ratio_BKC = (own_BKC + POWER_FLOOR) / (typical_KC + POWER_FLOOR)
        gains_BKC = torch.exp(0.5 * self.own * torch.log(ratio_BKC))
        gains_BKC = torch.cat([torch.ones_like(gains_BKC[:, :1]), gains_BKC], 1)
        return static * ring_weights(gains_BKC, *s_BUVC.shape[1:3])


class Emphasis(nn.Module):
    """Static: one learned gain per ring and channel, 1 for the mean, at first a smooth emphasis of high frequencies."""

    def __init__(self, dim: int, octave: float = 0.2) -> None:
        super().__init__()
        self.log_gains = nn.Parameter(emphasis(octave)[1:, None].repeat(1, dim))

    def forward(self, s_BUVC: Tensor) -> Tensor:
        gains_KC = torch.cat([torch.ones_like(self.log_gains[:1]), self.log_gains.exp()])
        return ring_weights(gains_KC[None], *s_BUVC.shape[1:3])


class GroupEmphasis(nn.Module):
    """Static: one learned gain per ring and group of channels, of the mean too, at first an emphasis of high rings.

    ``speed``: how much faster its logarithm learns than other parameters.
    """

    def __init__(self, dim: int, num_groups: int = 8, octave: float = 0.2, speed: float = 1.0) -> None:
        super().__init__()
        self.speed = speed
        self.log_gains = nn.Parameter(emphasis(octave)[:, None].repeat(1, num_groups) / speed)

    def forward(self, s_BUVC: Tensor) -> Tensor:
        gains_KG = torch.exp(self.speed * self.log_gains)
        return per_channel(ring_weights(gains_KG[None], *s_BUVC.shape[1:3]), s_BUVC.shape[-1])


class CrossGains(nn.Module):
    """Every ring's gain from the powers of all rings of its channel, the mean among them: a matrix of exponents."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        start = torch.zeros(NUM_BANDS, NUM_BANDS - 1)
        start[1:] = torch.eye(NUM_BANDS - 1) / 2
        self.exponents = nn.Parameter(start[..., None].repeat(1, 1, dim))

    def forward(self, s_BUVC: Tensor) -> Tensor:
        log_powers_BJC = torch.log(ring_powers(s_BUVC.square(), NUM_BANDS) + POWER_FLOOR)
        gains_BKC = torch.exp(-0.5 * torch.einsum("bjc,jkc->bkc", log_powers_BJC, self.exponents))
        gains_BKC = torch.cat([torch.ones_like(gains_BKC[:, :1]), gains_BKC], 1)
        return ring_weights(gains_BKC, *s_BUVC.shape[1:3])


class ContextGains(nn.Module):
    """`DynamicGains` times what a narrow MLP reads from all means and ring powers: exp of it, per ring and 8 channels.

    It costs 13 numbers a channel, and its gains reach the mean too, as squeeze-and-excitation does. It starts at 1.
    """

    def __init__(self, dim: int, *, group: int = 8, hidden_dim: int = 8, whitened: bool = True) -> None:
        super().__init__()
        self.num_groups = dim // group
        self.own = DynamicGains(dim) if whitened else NoGains()
        num_gains = NUM_BANDS * self.num_groups
        self.read = nn.Sequential(nn.LayerNorm(dim + num_gains, eps=1e-6), nn.Linear(dim + num_gains, hidden_dim))
        self.to_gains = nn.Linear(hidden_dim, num_gains)

    def reset_parameters(self) -> None:
        """Every gain is 1."""
        zero_(self.to_gains)

    def forward(self, s_BUVC: Tensor) -> Tensor:
        height, width, dim = s_BUVC.shape[1:]
        read = self.read(image_content(s_BUVC, self.num_groups))
        gains_BKG = torch.exp(self.to_gains(gelu(read))).unflatten(-1, (NUM_BANDS, self.num_groups))
        return self.own(s_BUVC) * per_channel(ring_weights(gains_BKG, height, width), dim)


class PairGains(nn.Module):
    """Per pair of bands, with their orientation, and group: the power of all but the mean to the power of -α/2."""

    def __init__(self, dim: int, num_groups: int = 16) -> None:
        super().__init__()
        self.exponents = nn.Parameter(torch.full((NUM_BANDS, NUM_BANDS, num_groups), 0.5))

    def forward(self, s_BUVC: Tensor) -> Tensor:
        powers = band_powers(s_BUVC.unflatten(-1, (self.exponents.shape[-1], -1)).square().mean(-1), NUM_BANDS)
        gains = torch.exp(-0.5 * self.exponents * torch.log(powers + POWER_FLOOR))
        gains = torch.cat([torch.cat([torch.ones_like(gains[:, :1, :1]), gains[:, :1, 1:]], 2), gains[:, 1:]], 1)
        return per_channel(spectrum_weights(gains, *s_BUVC.shape[1:3]), s_BUVC.shape[-1])


class FrequencyGains(nn.Module):
    """The default between: of every frequency and group of channels, ((P + ε) / (A + ε))^γ.

    P is the frequency's mean power in the group, A its average over all but the mean; γ per pair of bands, 0 at first.
    """

    def __init__(self, dim: int, num_groups: int = 8) -> None:
        super().__init__()
        self.exponents = nn.Parameter(torch.zeros(NUM_BANDS, NUM_BANDS, num_groups))

    def forward(self, s_BUVC: Tensor) -> Tensor:
        height, width, dim = s_BUVC.shape[1:]
        power = s_BUVC.unflatten(-1, (self.exponents.shape[-1], -1)).square().mean(-1)
        is_mean = torch.zeros_like(power[0])
        is_mean[0, 0] = 1
        average = (power * (1 - is_mean)).sum((1, 2), keepdim=True) / max(height * width - 1, 1)
        power = power * (1 - is_mean + is_mean / (height * width))
        log_ratio = torch.log((power + POWER_FLOOR) / (average + POWER_FLOOR))
        return per_channel(torch.exp(spectrum_weights(self.exponents[None], height, width) * log_ratio), dim)


def per_channel(weights_BUVG: Tensor, dim: int) -> Tensor:
    """One weight a group to one a channel."""
    return weights_BUVG.repeat_interleave(dim // weights_BUVG.shape[-1], -1)


GAINS: dict[str, Callable[[int], nn.Module]] = {
    "default": DynamicGains,
    "none": lambda dim: NoGains(),
    "constant powers": ConstantPowers,
    "from 0": partial(RingGains, start=0.0),
    "from 0.25": partial(RingGains, start=0.25),
    "from 0.75": partial(RingGains, start=0.75),
    "from 1": partial(RingGains, start=1.0),
    "mean too": partial(RingGains, mean=True),
    "one ring": partial(RingGains, num_bands=2),
    "3 rings": partial(RingGains, num_bands=4),
    "groups of 8": partial(RingGains, group=8),
    "batch": BatchGains,
    "batch and own": BatchAndOwnGains,
    "batch and own from 0.25": partial(BatchAndOwnGains, start=0.25),
    "emphasis": Emphasis,
    "strong emphasis": partial(Emphasis, octave=0.4),
    "group emphasis": GroupEmphasis,
    "fast 5": partial(RingGains, speed=5.0),
    "fast 3": partial(RingGains, speed=3.0),
    "fast group emphasis": partial(GroupEmphasis, speed=5.0),
    "cross": CrossGains,
    "context": ContextGains,
    "context alone": partial(ContextGains, whitened=False),
    "pairs": PairGains,
    "frequencies": FrequencyGains,
    "frequencies, 32 groups": partial(FrequencyGains, num_groups=32),
    "mlp": MlpGains,
}
