"""The residual block: a spectrum mixer over tokens, an MLP over channels."""

from jaxtyping import Float
from timm.layers import DropPath, LayerScale, Mlp
from torch import Tensor, nn

from dsmixer.layers.mixer import SpectrumMixer
from dsmixer.spectral.constants import DIRECT, Constants


class SpectrumBlock(nn.Module):
    """``x + scale · mixer(norm(x))``, then ``x + scale · mlp(norm(x))``, on tokens (B, H, W, C).

    Args:
        dim: channels.
        mlp_ratio: width of the MLP over ``dim``.
        init_values: initial layer scale; None for none.
        drop_path: probability that an image skips a branch.
        mixer: options of `SpectrumMixer`.
    """

    def __init__(
        self,
        dim: int,
        *,
        mlp_ratio: float = 2.0,
        init_values: float | None = 0.5,
        drop_path: float = 0.0,
        **mixer,
    ) -> None:
        super().__init__()

        def scale() -> nn.Module:
            return nn.Identity() if init_values is None else LayerScale(dim, init_values)

        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.mixer = SpectrumMixer(dim, **mixer)
        self.ls1 = scale()
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(mlp_ratio * dim))
        self.ls2 = scale()
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BHWC: Float[Tensor, "b h w c"], constants: Constants = DIRECT) -> Float[Tensor, "b h w c"]:
        """Same shape out."""
        x_BHWC = x_BHWC + self.drop_path(self.ls1(self.mixer(self.norm1(x_BHWC), constants)))
        return x_BHWC + self.drop_path(self.ls2(self.mlp(self.norm2(x_BHWC))))
