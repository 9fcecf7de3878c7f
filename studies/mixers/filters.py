"""The default mixer as two filters side by side, so that a part of one alone can be exchanged: the same function.

`dsmixer.layers.SpectrumMixer` holds both in one spectrum of twice the channels.

Layout: B batch, H W token grid, U V frequencies, C channels.
"""

from torch import Tensor, nn
from torch.nn.functional import silu

from dsmixer.layers.mixer import DepthwiseConv
from dsmixer.layers.weights import SpectrumWeights
from dsmixer.spectral import dct2, idct2


class Filter(nn.Module):
    """One of them: far through the weighed spectrum, near by a depthwise 3 × 3 convolution.

    ``identity``: the static response starts around one instead of zero.
    """

    def __init__(self, dim: int, *, identity: bool = False) -> None:
        super().__init__()
        self.identity = identity
        self.proj = nn.Linear(dim, dim, bias=False)
        self.weights = SpectrumWeights(dim, identity=dim if identity else 0)
        self.near = DepthwiseConv(dim, 3)

    def forward(self, x_BHWC: Tensor, x_BUVC: Tensor) -> Tensor:
        """Filtered tokens; ``x_BUVC`` is their spectrum."""
        return idct2(self.weights(self.proj(x_BUVC))) + self.near(x_BHWC)


class TwoFilters(nn.Module):
    """`dsmixer.layers.SpectrumMixer`, its values and its gate each by a filter of their own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.values, self.gate = Filter(dim), Filter(dim, identity=True)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Mixed tokens."""
        x_BUVC = dct2(x_BHWC)
        return self.out_proj(self.norm(self.values(x_BHWC, x_BUVC)) * silu(self.gate(x_BHWC, x_BUVC)))
