"""The spectrum mixer: two filters of the tokens by DCT → spectrum weights → inverse DCT, and their product.

Layout: B batch, H W token grid, U V frequencies, C channels. The design is ours (docs/paper-and-ours.md), the evidence
for each part is in studies/mixers.
"""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from dsmixer.layers.norm import LayerNorm
from dsmixer.layers.weights import SpectrumWeights
from dsmixer.spectral import Route, dct2, idct2
from dsmixer.spectral.constants import DIRECT, Constants
from dsmixer.spectral.dct import is_half


class DepthwiseConv(nn.Conv2d):
    """A filter for each channel, zeros outside; tokens (B, H, W, C) in and out.

    The gradient of a weight (C, 1, k, k) comes in the strides of channels last, which DDP warns of and copies; two
    views make them contiguous.
    """

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        nn.init.zeros_(cast(Tensor, self.bias))

    def forward(self, input: Tensor) -> Tensor:
        """Same shape out."""
        weight = self.weight.squeeze(1).unsqueeze(1)
        return self._conv_forward(input.permute(0, 3, 1, 2), weight, self.bias).permute(0, 2, 3, 1)


class SpectrumMixer(nn.Module):
    """Mix all tokens of an image in the frequency domain, with weights that its own content generates.

        values, gate = IDCT(spectrum weights · Linear(DCT(x))) + convolutions(x)
        out = Linear(LayerNorm(values) ⊙ SiLU(gate))

    Values and gate are two filters of the tokens, far through their spectrum and near by a convolution, so their
    product compares a token with its surroundings. Real weights build only even filters with mirrored borders, neither
    an edge nor a shift; the convolutions, with zeros outside, build those. One spectrum of 2C channels holds both.

    Args:
        dim: channels.
        kernel_size: side of the convolutions, odd.
        num_bands: bands per axis, DC included.
        num_terms: terms per axis of the static polynomial.
        route: how the DCT is computed, see `dsmixer.spectral.dct`.
    """

    def __init__(
        self, dim: int, *, kernel_size: int = 3, num_bands: int = 6, num_terms: int = 4, route: Route = "auto"
    ) -> None:
        super().__init__()
        if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size} has no middle; use 3, 5 or 7, or 1 for no neighbours")
        self.route: Route = route
        self.proj = nn.Linear(dim, 2 * dim, bias=False)
        # Values start from small random filters, the gate from its own tokens.
        self.weights = SpectrumWeights(2 * dim, num_bands=num_bands, num_terms=num_terms, identity=dim)
        self.near_values = DepthwiseConv(dim, kernel_size)
        self.near_gate = DepthwiseConv(dim, kernel_size)
        self.norm = LayerNorm(dim, eps=1e-6)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Float[Tensor, "b h w c"], constants: Constants = DIRECT) -> Float[Tensor, "b h w c"]:
        """Mixed tokens, same shape as ``x``; any height and width."""
        near_values, near_gate = self.near_values(x_BHWC), self.near_gate(x_BHWC)
        values, gate = self.far(x_BHWC, constants).to(near_values.dtype).chunk(2, -1)
        return self.out_proj(self.norm(values + near_values) * silu(gate + near_gate))

    def far(self, x_BHWC: Float[Tensor, "b h w c"], constants: Constants = DIRECT) -> Float[Tensor, "b h w c2"]:
        """Tokens filtered through their weighed spectrum: C channels of the values, then C of the gate."""
        # The projection commutes with the DCT, and behind it half as many channels are transformed. In float16 it comes
        # first: behind it, the spectrum would be float16.
        if is_half(x_BHWC):
            s_BUVC = dct2(self.proj(x_BHWC), self.route, constants)
        else:
            s_BUVC = self.proj(dct2(x_BHWC, self.route, constants))
        return idct2(self.weights(s_BUVC, constants), self.route, constants)
