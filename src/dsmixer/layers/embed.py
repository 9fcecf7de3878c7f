"""From pixels to tokens, and from one token grid to the next: overlapping convolutions with zero padding.

Every step divides height and width by its stride and rounds **up**: a border that does not fill a stride gets a token of
its own, completed with zeros. No size is refused and no pixel is dropped.
"""

from jaxtyping import Float
from torch import Tensor, nn


def overlapping_conv(in_dim: int, out_dim: int, stride: int) -> nn.Conv2d:
    """Convolution whose kernel spans 2·stride - 1 pixels (3 at stride 1): n → ceil(n / stride)."""
    kernel = max(3, 2 * stride - 1)
    return nn.Conv2d(in_dim, out_dim, kernel, stride, padding=(kernel - 1) // 2)


class Stem(nn.Module):
    """Images (B, C, H, W) to features (B, D, ceil(H / stride), ceil(W / stride)), normalised over channels."""

    def __init__(self, in_chans: int, dim: int, stride: int = 4) -> None:
        super().__init__()
        self.conv = overlapping_conv(in_chans, dim, stride)
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d y x"]:
        """Features in NCHW order, channels last in memory."""
        return self.norm(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Downsample(nn.Module):
    """Normalise over channels, then convolve to the next stage's width; ``stride`` 1 keeps the grid (output_stride)."""

    def __init__(self, in_dim: int, out_dim: int, stride: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_dim, eps=1e-6)
        self.conv = overlapping_conv(in_dim, out_dim, stride)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d y x"]:
        """Features of the next stage."""
        return self.conv(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
