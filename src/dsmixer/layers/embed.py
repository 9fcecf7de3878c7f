"""From pixels to tokens, and from one token grid to the next: overlapping convolutions with zero padding.

Every step divides height and width by its stride and rounds **up**: a border that does not fill a stride gets a token
of its own, completed with zeros. No size is refused and no pixel is dropped.
"""

from jaxtyping import Float
from torch import Tensor, nn

from dsmixer.spectral.constants import is_traced


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
        """Features in NCHW order, channels last in memory.

        Raises:
            ValueError: for anything but a floating-point batch of at least one image, with the channels of this stem.
        """
        if not is_traced(x):
            _require_images(x, self.conv.in_channels)
        return self.norm(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _require_images(x: Tensor, in_chans: int) -> None:
    if x.ndim != 4:
        hint = "; add a batch dimension: x[None]" if x.ndim == 3 else ""
        raise ValueError(f"expected images of shape (batch, {in_chans}, height, width), got {tuple(x.shape)}{hint}")
    if x.shape[1] != in_chans:
        hint = (
            "; permute channels to the front"
            if x.shape[-1] == in_chans
            else f"; or build it with in_chans={x.shape[1]}"
        )
        raise ValueError(f"this model takes images of {in_chans} channels, got shape {tuple(x.shape)}{hint}")
    if x.numel() == 0:
        raise ValueError(f"got images of shape {tuple(x.shape)}, which hold no pixel; at least (1, {in_chans}, 1, 1)")
    if not x.is_floating_point():
        raise ValueError(f"images must be floating point, got {x.dtype}; scale and normalise them: x.float() / 255")


class Downsample(nn.Module):
    """Normalise over channels, then convolve to the next stage's width; ``stride`` 1 keeps the grid (output_stride)."""

    def __init__(self, in_dim: int, out_dim: int, stride: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_dim, eps=1e-6)
        self.conv = overlapping_conv(in_dim, out_dim, stride)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d y x"]:
        """Features of the next stage."""
        return self.conv(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
