"""Norms and autocast: no float32 copies that nothing needs."""

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from dsmixer.spectral.dct import autocast_dtype, in_autocast


def as_autocast(x: Tensor) -> Tensor:
    """``x`` in the dtype that autocast multiplies in: cast once, where several products would each keep a copy."""
    dtype = autocast_dtype(x)
    return x if x.dtype == dtype else x.to(dtype)  # an idle cast would still be a node of an exported graph


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm`, but under autocast in the dtype of its input.

    On a GPU, autocast would widen the input to float32 and return float32: three passes and six bytes a value more,
    though the sums inside are float32 either way.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Same shape and dtype out."""
        if not in_autocast(input):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            return layer_norm(input, self.normalized_shape, weight, bias, self.eps)
