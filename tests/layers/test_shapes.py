"""The shapes written in signatures hold: every public function and module is called under a shape checker."""

import beartype
import jaxtyping
import pytest
import torch

from dsmixer import layers, spectral


def checked(function):
    return jaxtyping.jaxtyped(function, typechecker=beartype.beartype)


X = torch.randn(2, 6, 9, 16)
CALLS = {
    "band_energies": lambda f: f(X, 5),
    "band_powers": lambda f: f(X, 5),
    "dct": lambda f: f(X, 1),
    "dct2": lambda f: f(X),
    "idct": lambda f: f(X, 1),
    "idct2": lambda f: f(X),
    "polynomial_response": lambda f: f(torch.randn(3, 3, 16), 6, 9, ("sine", "cosine")),
    "response_terms": lambda f: f(7, 3, "sine", X),
    "ring_powers": lambda f: f(X, 5),
    "ring_weights": lambda f: f(torch.rand(2, 5, 8), 6, 9),
    "sine_synthesis": lambda f: f(X, 1),
    "spectrum_weights": lambda f: f(torch.rand(2, 5, 5, 8), 6, 9),
    "synthesis2": lambda f: f(X, "sine", "cosine"),
}
MODULES = {
    "Downsample": (lambda: layers.Downsample(16, 8), X.permute(0, 3, 1, 2)),
    "DynamicGains": (lambda: layers.DynamicGains(16), X),
    "SpectrumBlock": (lambda: layers.SpectrumBlock(16), X),
    "SpectrumMixer": (lambda: layers.SpectrumMixer(16), X),
    "Stem": (lambda: layers.Stem(3, 8), torch.randn(2, 3, 17, 5)),
}


def test_nothing_public_is_left_out():
    functions = set(spectral.__all__) - {"Basis", "Route"}
    assert set(CALLS) == functions
    assert set(MODULES) | {"SpectrumWeights", "StaticResponse"} == set(layers.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_functions(name):
    CALLS[name](checked(getattr(spectral, name)))


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    build, x = MODULES[name]
    module = build()
    checked(type(module).forward)(module, x)


def test_weights_and_response():
    response = layers.StaticResponse(16)
    assert checked(type(response).forward)(response, 6, 9).shape == (6, 9, 16)
    weights = layers.SpectrumWeights(16)
    assert checked(type(weights).forward)(weights, X).shape == X.shape


def test_a_wrong_shape_is_caught():
    with pytest.raises(jaxtyping.TypeCheckError):
        checked(spectral.dct2)(torch.randn(6, 9, 16))
