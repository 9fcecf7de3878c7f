"""How many operations a forward pass dispatches, views left out: the launches that a GPU waits for with small batches.

uv run python studies/throughput/operations.py dsm_tiny convnext_tiny [--size 224]
"""

import argparse

import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dsmixer  # noqa: F401 - registers the models


class Counted(TorchDispatchMode):
    """Counts what is not a view."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations += not (function.is_view or function is torch.ops.aten._unsafe_view.default)
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def operations(name: str, size: int) -> int:
    """Of one image of ``size`` pixels a side; what is kept between images is made before."""
    model, image = timm.create_model(name).eval(), torch.zeros(1, 3, size, size)
    model(image)
    with Counted() as counted:
        model(image)
    return counted.operations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    for name in options.models:
        print(name, operations(name, options.size))


if __name__ == "__main__":
    main()
