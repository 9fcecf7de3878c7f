"""The spectrum mixer: two filters of the tokens, each DCT → spectrum weights → inverse DCT, and their product.

Layout: B batch, H W token grid, U V frequencies, C channels. The design is ours (docs/paper-and-ours.md), the evidence
for each part is in studies/mixers.
"""

from typing import Any, cast

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


class SpectrumFilter(nn.Module):
    """Filter the tokens far and near: through their weighed spectrum, and by a depthwise convolution.

        out = IDCT(spectrum weights · Linear(DCT(x))) + convolution(x)

    Real weights build only even filters with mirrored borders, neither an edge nor a shift; the convolution, with zeros
    outside, builds those.

    Args:
        dim: channels.
        kernel_size: side of the convolution, odd.
        num_bands: bands per axis, DC included.
        num_terms: terms per axis of the static polynomial.
        identity: the static response starts around one instead of zero.
        route: how the DCT is computed, see `dsmixer.spectral.dct`.
    """

    def __init__(
        self,
        dim: int,
        *,
        kernel_size: int = 3,
        num_bands: int = 6,
        num_terms: int = 4,
        identity: bool = False,
        route: Route = "auto",
    ) -> None:
        super().__init__()
        if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size} has no middle; use 3, 5 or 7, or 1 for no neighbours")
        self.route: Route = route
        self.proj = nn.Linear(dim, dim, bias=False)
        self.weights = SpectrumWeights(dim, num_bands=num_bands, num_terms=num_terms, identity=identity)
        self.near = DepthwiseConv(dim, kernel_size)

    def forward(
        self,
        x_BHWC: Float[Tensor, "b h w c"],
        x_BUVC: Float[Tensor, "b h w c"] | None = None,
        constants: Constants = DIRECT,
    ) -> Float[Tensor, "b h w c"]:
        """Filtered tokens, in the dtype of the convolution's. ``x_BUVC`` is their spectrum, where it is known."""
        # The projection commutes with the DCT. In float16 it comes first: after it, the spectrum would be float16.
        s_BUVC = dct2(self.proj(x_BHWC), self.route, constants) if x_BUVC is None else self.proj(x_BUVC)
        far_BHWC = idct2(self.weights(s_BUVC, constants), self.route, constants)
        near_BHWC = self.near(x_BHWC)
        return far_BHWC.to(near_BHWC.dtype) + near_BHWC


class SpectrumMixer(nn.Module):
    """Mix all tokens of an image in the frequency domain, with weights that its own content generates.

        out = Linear(LayerNorm(values) ⊙ SiLU(gate))

    Values and gate are two filters of the tokens, so their product compares a token with its surroundings near and far.

    Args:
        dim: channels.
        route: how the DCT is computed, see `dsmixer.spectral.dct`.
        filters: ``kernel_size``, ``num_bands`` and ``num_terms`` of both filters, see `SpectrumFilter`.
    """

    def __init__(self, dim: int, *, route: Route = "auto", **filters: Any) -> None:
        super().__init__()
        self.route: Route = route
        self.values = SpectrumFilter(dim, route=route, **filters)
        self.gate = SpectrumFilter(dim, route=route, identity=True, **filters)
        self.norm = LayerNorm(dim, eps=1e-6)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Float[Tensor, "b h w c"], constants: Constants = DIRECT) -> Float[Tensor, "b h w c"]:
        """Mixed tokens, same shape as ``x``; any height and width."""
        x_BUVC = None if is_half(x_BHWC) else dct2(x_BHWC, self.route, constants)
        values, gate = self.values(x_BHWC, x_BUVC, constants), self.gate(x_BHWC, x_BUVC, constants)
        return self.out_proj(self.norm(values) * silu(gate))
