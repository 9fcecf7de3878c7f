"""The mathematics of the mixer: tensors in, tensors out. No parameters, no modules; no complex number leaves."""

from dsmixer.spectral.bands import (
    band_energies,
    band_powers,
    ring_powers,
    ring_weights,
    spectrum_weights,
)
from dsmixer.spectral.dct import Basis, Route, dct, dct2, idct, idct2, sine_synthesis, synthesis2
from dsmixer.spectral.responses import polynomial_response, response_terms

__all__ = [
    "Basis",
    "Route",
    "band_energies",
    "band_powers",
    "dct",
    "dct2",
    "idct",
    "idct2",
    "polynomial_response",
    "response_terms",
    "ring_powers",
    "ring_weights",
    "sine_synthesis",
    "spectrum_weights",
    "synthesis2",
]
