"""The residual block: a spectrum mixer over tokens and a gated MLP over channels, side by side."""

from jaxtyping import Float
from timm.layers import DropPath, LayerScale, SwiGLU
from torch import Tensor, nn

from dsmixer.layers.mixer import SpectrumMixer
from dsmixer.layers.norm import as_autocast
from dsmixer.spectral.constants import DIRECT, Constants


class SpectrumBlock(nn.Module):
    """``x + scale · (mixer(y) + mlp(y))`` with ``y = norm(x)``, on tokens (B, H, W, C).

    The MLP is gated: ``Linear(GELU(Linear(y)) ⊙ Linear(y))``.

    Args:
        dim: channels.
        mlp_ratio: hidden channels of the MLP over ``dim``.
        init_values: initial layer scale; None for none.
        drop_path: probability that an image skips the block.
        mixer: options of `SpectrumMixer`.
    """

    def __init__(
        self,
        dim: int,
        *,
        mlp_ratio: float = 1.5,
        init_values: float | None = 0.5,
        drop_path: float = 0.0,
        **mixer,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.mixer = SpectrumMixer(dim, **mixer)
        self.mlp = SwiGLU(dim, int(mlp_ratio * dim), act_layer=nn.GELU)
        self.ls = nn.Identity() if init_values is None else LayerScale(dim, init_values)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BHWC: Float[Tensor, "b h w c"], constants: Constants = DIRECT) -> Float[Tensor, "b h w c"]:
        """Same shape out."""
        y_BHWC = as_autocast(self.norm(x_BHWC))
        return x_BHWC + self.drop_path(self.ls(self.mixer(y_BHWC, constants) + self.mlp(y_BHWC)))
