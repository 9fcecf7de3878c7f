"""The networks, registered with timm when this room is imported."""

from dsmixer.backbones.dsm import DynamicSpectrumMixer

__all__ = ["DynamicSpectrumMixer"]
