"""Modules with weights: the spectrum weights, the mixer around them, the block, and the steps between token grids."""

# timm before any module of this room: importing it registers the backbones, which need these modules whole.
import timm  # noqa: F401  # isort: skip

from dsmixer.layers.block import SpectrumBlock
from dsmixer.layers.embed import Downsample, Stem
from dsmixer.layers.mixer import SpectrumMixer
from dsmixer.layers.weights import DynamicGains, SpectrumWeights, StaticResponse

__all__ = [
    "Downsample",
    "DynamicGains",
    "SpectrumBlock",
    "SpectrumMixer",
    "SpectrumWeights",
    "StaticResponse",
    "Stem",
]
