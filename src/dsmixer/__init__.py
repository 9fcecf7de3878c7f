"""Dynamic Spectrum Mixer."""

__version__ = "0.1.0"
