"""SpectrumMixer: tokens → DCT → spectrum weights → inverse DCT → tokens, between two projections and under a gate.

Layout: B batch, H W token grid, U V frequencies, C channels. The design is ours (docs/paper-and-ours.md), the evidence
for each part is in studies/.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from dsmixer.layers.weights import Content, DynamicGains, SpectrumWeights, StaticResponse
from dsmixer.spectral import Basis, Route, dct2, synthesis2
from dsmixer.spectral.constants import DIRECT, Constants

# Synthesis over (height, width) of each channel group. Real gains on cosines alone build only even filters with
# mirrored borders, neither an edge nor a shift; sines build the odd ones.
MIXED_BASES: tuple[tuple[Basis, Basis], ...] = (
    ("cosine", "cosine"),
    ("cosine", "sine"),
    ("sine", "cosine"),
    ("sine", "sine"),
)
COSINE_BASES: tuple[tuple[Basis, Basis], ...] = (("cosine", "cosine"),)


class SpectrumMixer(nn.Module):
    """Mix all tokens of an image in the frequency domain, with weights that its own content generates.

    Args:
        dim: channels C; divisible by 4, and by ``num_groups``.
        dynamic: generate gains per image; else the static response alone.
        symmetric: synthesise with cosines alone; else with cosines and sines in four channel groups.
        gate: multiply the mixed values by SiLU of a second projection.
        local_conv: add a depthwise 3 × 3 convolution of the values.
        content: what the gains are generated from, see `DynamicGains`.
        num_bands: bands per axis, DC included.
        num_groups: channel groups with gains of their own.
        num_terms: terms per axis of the static polynomial.
        hidden_dim: width of the layer that generates the gains.
        route: how the DCT is computed, see `dsmixer.spectral.dct`.
    """

    def __init__(
        self,
        dim: int,
        *,
        dynamic: bool = True,
        symmetric: bool = False,
        gate: bool = True,
        local_conv: bool = False,
        content: Content = "both",
        num_bands: int = 6,
        num_groups: int = 8,
        num_terms: int = 4,
        hidden_dim: int = 32,
        route: Route = "auto",
    ) -> None:
        super().__init__()
        self.bases = COSINE_BASES if symmetric else MIXED_BASES
        if dim % len(self.bases):
            raise ValueError(f"dim {dim} does not divide into {len(self.bases)} groups of cosine and sine synthesis")
        self.route: Route = route
        self.in_proj = nn.Linear(dim, 2 * dim if gate else dim)
        self.gated = gate
        self.weights = SpectrumWeights(
            StaticResponse(dim, self.bases, num_bands=num_bands, num_terms=num_terms),
            DynamicGains(dim, num_bands=num_bands, num_groups=num_groups, hidden_dim=hidden_dim, content=content)
            if dynamic
            else None,
        )
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if local_conv else None
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Float[Tensor, "b h w c"], constants: Constants = DIRECT) -> Float[Tensor, "b h w c"]:
        """Mixed tokens, same shape and dtype as ``x``; any height and width."""
        x = self.in_proj(x_BHWC)
        v_BHWC, z_BHWC = x.chunk(2, -1) if self.gated else (x, None)
        s_BUVC = self.weights(dct2(v_BHWC, self.route, constants), constants)
        y_BHWC = self._synthesis(s_BUVC, constants).to(v_BHWC.dtype)
        if self.local is not None:
            y_BHWC = y_BHWC + self.local(v_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if z_BHWC is not None:
            y_BHWC = y_BHWC * silu(z_BHWC)
        return self.out_proj(y_BHWC)

    def _synthesis(self, s_BUVC: Tensor, constants: Constants) -> Tensor:
        groups = s_BUVC.chunk(len(self.bases), -1)
        pairs = zip(groups, self.bases, strict=True)
        return torch.cat([synthesis2(group, *bases, self.route, constants) for group, bases in pairs], -1)
