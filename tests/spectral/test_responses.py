"""Polynomials in ω are small FIR filters with mirrored borders, at every size."""

import pytest
import torch

from dsmixer.spectral import dct, dct2, idct, polynomial_response, response_terms, sine_synthesis, synthesis2


def mirrored(x: torch.Tensor, shift: int) -> torch.Tensor:
    """``x`` of length n read ``shift`` tokens away, beyond its borders mirrored half a token outside."""
    n = x.shape[-1]
    i = (torch.arange(n) + shift) % (2 * n)
    return x[..., torch.where(i < n, i, 2 * n - 1 - i)]


@pytest.mark.parametrize("n", [5, 9, 16])
@pytest.mark.parametrize("j", [0, 1, 2, 3])
def test_cosine_terms_average_two_taps(n, j):
    x = torch.randn(2, n, dtype=torch.float64)
    filtered = idct(dct(x) * response_terms(n, 4, "cosine", x)[j])
    assert torch.allclose(filtered, (mirrored(x, j) + mirrored(x, -j)) / 2)


@pytest.mark.parametrize("n", [5, 9, 16])
@pytest.mark.parametrize("j", [0, 1, 2, 3])
def test_sine_terms_difference_two_taps(n, j):
    x = torch.randn(2, n, dtype=torch.float64)
    filtered = sine_synthesis(dct(x) * response_terms(n, 4, "sine", x)[j])
    assert torch.allclose(filtered, (mirrored(x, -(j + 1)) - mirrored(x, j + 1)) / 2)


def test_a_response_is_the_same_filter_on_every_grid():
    """Away from the borders the filter's impulse response does not know the size of the image."""
    coefficients = torch.randn(3, 3, 2, dtype=torch.float64)
    crops = []
    for height, width in ((15, 17), (40, 29)):
        impulse = torch.zeros(1, height, width, 2, dtype=torch.float64)
        impulse[:, height // 2, width // 2] = 1
        response = polynomial_response(coefficients, height, width, ("cosine", "sine"))
        assert response.shape == (height, width, 2)
        filtered = synthesis2(dct2(impulse) * response, "cosine", "sine")
        u, v = height // 2, width // 2
        crops.append(filtered[:, u - 4 : u + 5, v - 4 : v + 5])
        assert filtered.square().sum() == pytest.approx(crops[-1].square().sum().item())
    assert torch.allclose(*crops)
