"""Adaptive average pooling as two matrix products, which export with a dynamic height and width.

`torch.nn.AdaptiveAvgPool2d` freezes the traced size in ONNX: right there, an error elsewhere (pytorch#74034).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dsmixer.spectral.constants import constant, tensor_length
from dsmixer.spectral.dct import contract


def adaptive_average(x: Float[Tensor, "b c h w"], bins: int) -> Float[Tensor, "b c i j"]:
    """Mean of ``x`` in ``bins`` × ``bins`` windows that cover it, equal to ``adaptive_avg_pool2d(x, bins)``.

    Window i of an axis of n covers ⌊i·n/bins⌋ … ⌈(i+1)·n/bins⌉; for n below ``bins`` windows share entries.
    """
    over_width = contract(window_matrix(x.shape[3], x, bins), x, 3)
    return contract(window_matrix(x.shape[2], x, bins), over_width, 2)


@constant
def window_matrix(n: int, dtype: torch.dtype, device: torch.device, bins: int) -> Float[Tensor, "i n"]:
    """Row i averages window i."""
    size = tensor_length(n, device)
    i, k = torch.arange(bins, device=device)[:, None], torch.arange(n, device=device)
    inside = ((k >= i * size // bins) & (k < ((i + 1) * size + bins - 1) // bins)).to(dtype)
    return inside / inside.sum(1, keepdim=True)
