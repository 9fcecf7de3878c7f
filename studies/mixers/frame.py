"""The frame every mixer is judged in: stem, downsampling, norms and head of `dsm_*`; mixers change, and their MLP.

Layout: B batch, H W token grid, C channels.
"""

import bisect
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from timm.layers import LayerScale, Mlp
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.init import trunc_normal_, zeros_
from torch.utils.flop_counter import FlopCounterMode

from dsmixer.layers.embed import Downsample, Stem


class Place(NamedTuple):
    """Where in the frame a mixer stands."""

    dim: int  # channels
    side: int  # of the token grid
    stage: int = 0
    before: tuple[nn.Module, ...] = ()  # the mixers of the stage's earlier blocks


MakeMixer = Callable[[Place], nn.Module]  # of tokens (B, H, W, C), to the same shape
MakeNorm = Callable[[int], nn.Module]  # of channels; of such tokens
LAYER_NORM = partial(nn.LayerNorm, eps=1e-6)


class Mixer(NamedTuple):
    """A row of the table: how to build the mixer, and what its paper gives it in the frame."""

    make: MakeMixer
    divisor: int = 8  # its channels divide by this
    position_embedding: bool = False
    mlp: Literal["beside", "behind", "none"] = "beside"  # a residual branch of its own; at the end of the mixer's; none
    norm1: MakeNorm = LAYER_NORM  # before the mixer
    norm2: MakeNorm = LAYER_NORM  # before the MLP
    recipe: Mapping[str, Any] = MappingProxyType({})  # fields of Protocol or Shape that this row changes


class Shape(NamedTuple):
    """The frame's own size. ``side`` is that of the images, in pixels, ``grid`` that of the first stage, in tokens."""

    side: int = 32
    grid: int = 16
    depths: tuple[int, ...] = (2, 3, 2)
    widths: tuple[int, ...] = (48, 96, 192)
    mlp_ratio: float = 3.0
    init_values: float = 0.5

    def fits(self) -> bool:
        """Whether the images divide into the tokens."""
        return self.side % self.grid == 0


TOLERANCE = 0.02  # of the parameter budget


class Block(nn.Module):
    """The two residual branches."""

    def __init__(self, dim: int, made: nn.Module, mixer: Mixer, shape: Shape) -> None:
        super().__init__()
        self.norm1 = mixer.norm1(dim)
        self.mixer = made
        self.ls1 = LayerScale(dim, shape.init_values)
        self.norm2 = mixer.norm2(dim)
        self.mlp = Mlp(dim, int(shape.mlp_ratio * dim))
        self.ls2 = LayerScale(dim, shape.init_values)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Same shape out."""
        x_BHWC = x_BHWC + self.ls1(self.mixer(self.norm1(x_BHWC)))
        return x_BHWC + self.ls2(self.mlp(self.norm2(x_BHWC)))


class OneBranch(nn.Module):
    """One residual branch: the mixer, and after it the MLP or nothing."""

    def __init__(self, dim: int, made: nn.Module, mixer: Mixer, shape: Shape) -> None:
        super().__init__()
        self.norm1 = mixer.norm1(dim)
        self.mixer = made
        behind = (mixer.norm2(dim), Mlp(dim, int(shape.mlp_ratio * dim))) if mixer.mlp == "behind" else ()
        self.behind = nn.Sequential(*behind)
        self.ls1 = LayerScale(dim, shape.init_values)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Same shape out."""
        return x_BHWC + self.ls1(self.behind(self.mixer(self.norm1(x_BHWC))))


def stage(mixer: Mixer, shape: Shape, dim: int, index: int) -> nn.Sequential:
    """The blocks of one stage."""
    side, blocks = grid_sides(shape)[index], nn.Sequential()
    make_block = Block if mixer.mlp == "beside" else OneBranch
    for _ in range(shape.depths[index]):
        made = mixer.make(Place(dim, side, index, tuple(block.mixer for block in blocks)))
        blocks.append(make_block(dim, made, mixer, shape))
    return blocks


class Frame(nn.Module):
    """A classifier whose blocks mix tokens with ``mixer``."""

    def __init__(self, mixer: Mixer, shape: Shape, widths: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        sides, self.widths = grid_sides(shape), widths
        self.stem = Stem(3, widths[0], shape.side // shape.grid)
        self.position = nn.Parameter(torch.empty(widths[0], sides[0], sides[0])) if mixer.position_embedding else None
        self.downsamples = nn.ModuleList([nn.Identity(), *(Downsample(a, b) for a, b in itertools.pairwise(widths))])
        self.stages = nn.ModuleList(stage(mixer, shape, width, index) for index, width in enumerate(widths))
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], num_classes)
        self.apply(_init_weights)
        if self.position is not None:
            trunc_normal_(self.position, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits."""
        return self.head(self.norm(self.features(images)[-1].mean((2, 3))))

    def features(self, images: Tensor) -> list[Tensor]:
        """NCHW features of every stage."""
        x = self.stem(images)
        if self.position is not None:
            x = x + _resized(self.position, x)
        found = []
        for downsample, blocks in zip(self.downsamples, self.stages, strict=True):
            x = blocks(downsample(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            found.append(x)
        return found


def _resized(position: Tensor, x: Tensor) -> Tensor:
    """The position embedding (C, H, W) for the grid of ``x``."""
    if position.shape[1:] == x.shape[2:]:
        return position
    return interpolate(position[None], x.shape[2:], mode="bicubic", align_corners=False)


def _init_weights(module: nn.Module) -> None:
    """As in `dsm_*`; a mixer's own initialisation, in its ``reset_parameters``, comes last and wins."""
    if hasattr(module, "reset_parameters") and not isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm):
        module.reset_parameters()
    elif isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
        trunc_normal_(module.weight, std=(3 * module.weight[0].numel()) ** -0.5)
        if module.bias is not None:
            zeros_(module.bias)


def grid_sides(shape: Shape) -> list[int]:
    """Side of the token grid of each stage."""
    if not shape.fits():
        raise ValueError(f"images of {shape.side} pixels a side do not divide into {shape.grid} tokens a side")
    sides = [shape.grid]
    for _ in shape.depths[1:]:
        sides.append(-(-sides[-1] // 2))
    return sides


def num_params(model: nn.Module) -> int:
    """Of everything that learns."""
    return sum(p.numel() for p in model.parameters())


def num_macs(model: nn.Module, side: int) -> int:
    """Multiply-accumulates for one image: products, convolutions, attention; 1.25·n·log2 n for a real FFT of n.

    Element-wise passes are not counted.
    """
    counter = FlopCounterMode(display=False, custom_mapping=FFT_FLOPS)
    with counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, side, side))
    model.train()
    return counter.get_total_flops() // 2


def _fft_flops(input_shape: torch.Size, dim: list[int], *args: Any, out_shape: torch.Size, **kwargs: Any) -> int:
    """2.5·log2 n for every entry of the longer side, the real one; n is the product of the transformed lengths."""
    lengths = math.prod(max(input_shape[d], out_shape[d]) for d in dim)
    return int(2.5 * max(math.prod(input_shape), math.prod(out_shape)) * math.log2(lengths))


FFT_FLOPS = {
    torch.ops.aten._fft_r2c: _fft_flops,
    torch.ops.aten._fft_c2r: _fft_flops,
    torch.ops.aten._fft_c2c: _fft_flops,
}


def _imbalance(widths: tuple[int, ...], proportions: tuple[int, ...]) -> float:
    ratios = [w / p for w, p in zip(widths, proportions, strict=True)]
    return max(ratios) / min(ratios)


def build(mixer: Mixer, shape: Shape, num_classes: int, budget: int | None) -> Frame:
    """The frame at those widths within 2 % of ``budget`` parameters that are most in proportion to the shape's."""
    if budget is None:
        return Frame(mixer, shape, shape.widths, num_classes)

    @functools.cache
    def size(widths: tuple[int, ...]) -> int:
        with torch.device("meta"):
            return num_params(Frame(mixer, shape, widths, num_classes))

    def distance(widths: tuple[int, ...]) -> float:
        return abs(size(widths) / budget - 1)

    def scaled(percent: int) -> tuple[int, ...]:
        return tuple(max(1, round(w * percent / 100 / mixer.divisor)) * mixer.divisor for w in shape.widths)

    above = bisect.bisect_left(range(200), budget, lo=50, key=lambda percent: size(scaled(percent)))
    start = min((scaled(above - 1), scaled(above)), key=distance)
    steps = itertools.product((-mixer.divisor, 0, mixer.divisor), repeat=len(start))
    nearby = [tuple(w + step for w, step in zip(start, change, strict=True)) for change in steps]
    fitting = [near for near in nearby if min(near) > 0 and distance(near) < TOLERANCE]
    widths = min(fitting, key=lambda near: _imbalance(near, shape.widths)) if fitting else start
    if distance(widths) > 0.05:
        raise ValueError(f"widths {widths} are the nearest, and miss {budget} parameters by {distance(widths):.1%}")
    return Frame(mixer, shape, widths, num_classes)
