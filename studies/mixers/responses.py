"""Static responses of other kinds than `dsmixer.layers.StaticResponse`, and synthesis by sines too.

Layout: B batch, H W token grid, U V frequencies, C channels.
"""

import torch
from torch import Tensor, nn

from dsmixer.layers.weights import COEFFICIENT_STD
from dsmixer.spectral import Basis, polynomial_response, spectrum_weights, synthesis2
from dsmixer.spectral.constants import DIRECT, Constants
from studies.mixers.peers.spectral import resized

NUM_BANDS = 6
Bases = tuple[tuple[Basis, Basis], ...]  # over (height, width); the channels are split evenly over them
COSINE: Bases = (("cosine", "cosine"),)
MIXED: Bases = (("cosine", "cosine"), ("cosine", "sine"), ("sine", "cosine"), ("sine", "sine"))
# Half of the channels are filtered along the height alone, half along the width.
AXES: Bases = (("cosine", "cosine"), ("sine", "cosine"), ("cosine", "cosine"), ("cosine", "sine"))
BASES: dict[str, Bases] = {"mixed": MIXED, "cosine": COSINE, "axes": AXES, "all": MIXED}


class Response(nn.Module):
    """A polynomial of cosines and sines of ω, as the bases of the synthesis ask, and a weight per band.

    ``speed``: how much faster its numbers learn than other parameters.
    """

    def __init__(
        self,
        dim: int,
        bases: Bases = COSINE,
        *,
        num_terms: int = 4,
        std: float = COEFFICIENT_STD,
        bands: bool = True,
        identity: bool = False,
        speed: float = 1.0,
    ) -> None:
        super().__init__()
        self.bases, self.std, self.identity, self.speed = bases, std, identity, speed
        self.learned = nn.Parameter(torch.empty(num_terms, num_terms, dim))
        self.band_weights = nn.Parameter(torch.empty(NUM_BANDS, NUM_BANDS, dim)) if bands else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Around 0, or around the response that changes nothing."""
        nn.init.normal_(self.learned, std=self.std)
        with torch.no_grad():
            self.learned[0, 0] += float(self.identity)
            self.learned /= self.speed
        if self.band_weights is not None:
            nn.init.zeros_(self.band_weights)

    def forward(self, height: int, width: int, constants: Constants = DIRECT) -> Tensor:
        """(U, V, C)."""
        groups = zip(self.learned.chunk(len(self.bases), -1), self.bases, strict=True)
        response = torch.cat([polynomial_response(group, height, width, pair) for group, pair in groups], -1)
        if self.band_weights is not None:
            response = response + spectrum_weights(self.band_weights[None], height, width, constants)[0]
        return self.speed * response


class Numbers(nn.Module):
    """A number per pair of bands and channel, or per frequency and channel of one grid. They start independent."""

    def __init__(self, dim: int, side: int | None = None, *, std: float = 0.3, identity: bool = False) -> None:
        super().__init__()
        self.per_band, self.std, self.identity = side is None, std, identity
        self.learned = nn.Parameter(torch.empty(side or NUM_BANDS, side or NUM_BANDS, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Around 0, or around the response that changes nothing."""
        nn.init.normal_(self.learned, float(self.identity), self.std)

    def forward(self, height: int, width: int, constants: Constants = DIRECT) -> Tensor:
        """(U, V, C); on another grid than its own interpolated, as GFNet's filter is."""
        if self.per_band:
            return spectrum_weights(self.learned[None], height, width, constants)[0]
        return resized(self.learned, height, width)


class AxisResponse(nn.Module):
    """Responses of one frequency each: a part of the channels per pair of bases, the first half along the height."""

    def __init__(self, dim: int, bases: Bases = AXES, *, identity: bool = False) -> None:
        super().__init__()
        share = dim // len(bases)
        self.parts = nn.ModuleList(Response(share, (pair,), identity=identity) for pair in bases)

    def forward(self, height: int, width: int, constants: Constants = DIRECT) -> Tensor:
        """(U, V, C)."""
        half = len(self.parts) // 2
        along_height = [part(height, 1).expand(-1, width, -1) for part in self.parts[:half]]
        along_width = [part(1, width).expand(height, -1, -1) for part in self.parts[half:]]
        return torch.cat(along_height + along_width, -1)


def synthesised(s_BUVC: Tensor, bases: Bases) -> Tensor:
    """Tokens from a spectrum whose channels are split over pairs of bases."""
    groups = zip(s_BUVC.chunk(len(bases), -1), bases, strict=True)
    return torch.cat([synthesis2(group, *pair) for group, pair in groups], -1)
