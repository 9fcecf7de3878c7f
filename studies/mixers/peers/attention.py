"""Peers that compare tokens: global and windowed self-attention."""

import torch
from timm.layers import Attention
from timm.models.swin_transformer import WindowAttention, window_partition, window_reverse
from torch import Tensor, nn

from studies.mixers.frame import Mixer

HEAD_DIM = 16  # of 32 to 192 channels; the papers use 32 to 64 of 96 to 768


def num_heads(dim: int) -> int:
    """Heads of `HEAD_DIM` channels."""
    return max(1, round(dim / HEAD_DIM))


class SelfAttention(nn.Module):
    """Multi-head self-attention over all tokens (ViT, arXiv 2010.11929); the frame adds the position embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads(dim), attn_head_dim=HEAD_DIM, qkv_bias=True)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        return self.attention(x_BHWC.flatten(1, 2)).unflatten(1, x_BHWC.shape[1:3])


class ShiftedWindowAttention(nn.Module):
    """Attention in windows with relative position bias, every other block shifted by half a window (Swin, 2103.14030).

    Windows of 4 × 4 tokens: the paper's 7 × 7 does not divide these grids. A grid of one window is not shifted.
    """

    def __init__(self, dim: int, side: int, shifted: bool, window: int = 4) -> None:
        super().__init__()
        self.window = min(window, side)
        self.shift = window // 2 if shifted and side > self.window else 0
        self.attention = WindowAttention(dim, num_heads(dim), HEAD_DIM, self.window)
        self.register_buffer("mask", shift_mask(side, self.window, self.shift) if self.shift else None, False)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        side, size = x_BHWC.shape[1], (self.window, self.window)
        x = x_BHWC.roll((-self.shift, -self.shift), (1, 2))
        windows = window_partition(x, size).flatten(1, 2)
        x = window_reverse(self.attention(windows, self.mask).unflatten(1, size), size, side, side)
        return x.roll((self.shift, self.shift), (1, 2))


def shift_mask(side: int, window: int, shift: int) -> Tensor:
    """(windows, tokens, tokens): -100 between tokens that only the roll made neighbours."""
    position = torch.arange(side)
    region = (position >= side - window).long() + (position >= side - shift).long()
    regions = window_partition((3 * region[:, None] + region)[None, ..., None].float(), (window, window)).flatten(1)
    return (regions[:, :, None] != regions[:, None]).float() * -100


PEERS = {
    "attention": Mixer(lambda at: SelfAttention(at.dim), position_embedding=True),
    "swin": Mixer(lambda at: ShiftedWindowAttention(at.dim, at.side, len(at.before) % 2 == 1)),
}
