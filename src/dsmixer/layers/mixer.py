"""The spectrum mixer: DCT of the tokens → values and gate → spectrum weights → inverse DCT → gate → projection.

Layout: B batch, H W token grid, U V frequencies, C channels. The design is ours (docs/paper-and-ours.md), the evidence
for each part is in studies/mixers.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from dsmixer.layers.norm import LayerNorm
from dsmixer.layers.weights import DynamicGains, SpectrumWeights, StaticResponse
from dsmixer.spectral import Basis, Route, dct2, synthesis2
from dsmixer.spectral.constants import DIRECT, Constants
from dsmixer.spectral.dct import is_half

# Synthesis of the values over (height, width), a quarter of the channels each. Real gains on cosines alone build only
# even filters with mirrored borders, neither an edge nor a shift; sines build the odd ones.
VALUE_BASES: tuple[tuple[Basis, Basis], ...] = (
    ("cosine", "cosine"),
    ("cosine", "sine"),
    ("sine", "cosine"),
    ("sine", "sine"),
)
GATE_BASES: tuple[tuple[Basis, Basis], ...] = (("cosine", "cosine"),)


class NearTokens(nn.Module):
    """What a token's neighbours add to its values and to its gate: two depthwise convolutions, zeros outside."""

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size} has no middle; use 3, 5 or 7, or None for no convolution")
        self.values, self.gate = (
            nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim) for _ in range(2)
        )

    def forward(self, x_BHWC: Float[Tensor, "b h w c"]) -> tuple[Tensor, Tensor]:
        """Both, in the layout of ``x``."""
        x_BCHW = x_BHWC.permute(0, 3, 1, 2)
        return self.values(x_BCHW).permute(0, 2, 3, 1), self.gate(x_BCHW).permute(0, 2, 3, 1)


class SpectrumMixer(nn.Module):
    """Mix all tokens of an image in the frequency domain, with weights that its own content generates.

        s = Linear(C → 2C)(DCT(x)) · static response · dynamic gains
        out = Linear(LayerNorm(synthesis(values of s)) ⊙ SiLU(IDCT(gate of s) + bias))

    Values and gate are both filtered, so their product compares a token with its surroundings near and far.

    Args:
        dim: channels C; divisible by 4.
        kernel_size: side of two depthwise convolutions of ``x``, odd, zeros outside, one added to the values and one to
            the gate; None for none.
        num_bands: bands per axis, DC included.
        num_terms: terms per axis of the static polynomial.
        route: how the DCT is computed, see `dsmixer.spectral.dct`.
    """

    def __init__(
        self,
        dim: int,
        *,
        kernel_size: int | None = None,
        num_bands: int = 6,
        num_terms: int = 4,
        route: Route = "auto",
    ) -> None:
        super().__init__()
        if dim % len(VALUE_BASES):
            raise ValueError(f"dim {dim} does not divide into {len(VALUE_BASES)} groups of cosine and sine synthesis")
        self.route: Route = route
        self.in_proj = nn.Linear(dim, 2 * dim, bias=False)
        self.weights = SpectrumWeights(
            [
                StaticResponse(dim, VALUE_BASES, num_bands=num_bands, num_terms=num_terms),
                StaticResponse(dim, GATE_BASES, num_bands=num_bands, num_terms=num_terms, identity=True),
            ],
            DynamicGains(2 * dim, num_bands=num_bands),
        )
        self.gate_bias = nn.Parameter(torch.empty(dim))
        self.near = None if kernel_size is None else NearTokens(dim, kernel_size)
        self.norm = LayerNorm(dim, eps=1e-6)
        self.out_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No bias of the gate; the parts have their own initialisation."""
        nn.init.zeros_(self.gate_bias)

    def forward(self, x_BHWC: Float[Tensor, "b h w c"], constants: Constants = DIRECT) -> Float[Tensor, "b h w c"]:
        """Mixed tokens, same shape and dtype as ``x``; any height and width."""
        v_BUVC, z_BUVC = self.weights(self._analysis(x_BHWC, constants), constants).chunk(2, -1)
        v_BHWC, z_BHWC = (self._synthesis(*part, constants) for part in ((v_BUVC, VALUE_BASES), (z_BUVC, GATE_BASES)))
        if x_BHWC.dtype == torch.float16:  # the spectrum was float32
            v_BHWC, z_BHWC = v_BHWC.half(), z_BHWC.half()
        if self.near is not None:
            near_values, near_gate = self.near(x_BHWC)
            v_BHWC, z_BHWC = v_BHWC + near_values, z_BHWC + near_gate
        return self.out_proj(self.norm(v_BHWC) * silu(z_BHWC + self.gate_bias.to(z_BHWC.dtype)))

    def _analysis(self, x_BHWC: Tensor, constants: Constants) -> Tensor:
        """Spectrum of values and gate.

        The projection commutes with the DCT; behind it, half as many channels are transformed. Not in float16: `dct2`
        returns float32 there, for a float16 spectrum would overflow, and the projection would make it one.
        """
        if is_half(x_BHWC):
            return dct2(self.in_proj(x_BHWC), self.route, constants)
        return self.in_proj(dct2(x_BHWC, self.route, constants))

    def _synthesis(self, s_BUVC: Tensor, bases: tuple[tuple[Basis, Basis], ...], constants: Constants) -> Tensor:
        groups = zip(s_BUVC.chunk(len(bases), -1), bases, strict=True)
        parts = [synthesis2(group, *pair, self.route, constants) for group, pair in groups]
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]
