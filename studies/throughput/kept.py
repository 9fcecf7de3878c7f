"""What a block of `dsm_*` keeps for its backward pass, in tensors of the tokens' size in bfloat16.

uv run python studies/throughput/kept.py [--side 56] [--dim 64]

Counted on a CPU under bfloat16 autocast; CUDA's widens `torch.nn.LayerNorm` to float32, a CPU's does not.
"""

import argparse

import torch
from torch import Tensor

from dsmixer.layers import SpectrumBlock


def kept_bytes(block: SpectrumBlock, x: Tensor) -> int:
    """Of all storages that are saved, each once, the weights left out."""
    sizes, held = {}, []
    weights = {p.untyped_storage().data_ptr() for p in block.parameters()}

    def keep(saved: Tensor) -> Tensor:
        held.append(saved)  # so that no storage is used a second time
        sizes[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved), torch.autocast("cpu", torch.bfloat16):
        block(x)
    return sum(size for where, size in sizes.items() if where not in weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=56)
    parser.add_argument("--dim", type=int, default=64)
    options = parser.parse_args()
    x = torch.randn(2, options.side, options.side, options.dim, requires_grad=True)
    print(f"{kept_bytes(SpectrumBlock(options.dim), x) / (2 * x.numel()):.1f}")


if __name__ == "__main__":
    main()
