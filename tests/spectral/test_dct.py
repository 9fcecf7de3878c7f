"""The transform is SciPy's orthonormal DCT, by both routes, in every precision it promises."""

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from dsmixer.spectral import dct, dct2, idct, idct2, sine_synthesis, synthesis2
from dsmixer.spectral.dct import FFT_FROM

ROUTES = ("matrix", "fft")
SIZES = (1, 2, 3, 4, 7, 8, 13, 14, 31, 56, 97, 128, 509)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}

grids = st.tuples(st.integers(1, 24), st.integers(1, 24))


def tokens(height: int, width: int, dtype=torch.float64, batch: int = 2, channels: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, height, width, channels, generator=generator, dtype=torch.float64).to(dtype)


def error(actual: torch.Tensor, expected) -> float:
    return float(np.abs(np.asarray(actual, dtype=np.float64) - np.asarray(expected, dtype=np.float64)).max())


def sines(n: int) -> np.ndarray:
    k, i = np.arange(n)[:, None], np.arange(n)
    return np.sqrt(2 / n) * np.sin(np.pi * (i + 0.5) * k / n)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("n", SIZES)
def test_agrees_with_scipy(n, route, dtype):
    x = tokens(5, n, dtype)[..., 0]
    exact = x.double().numpy()
    assert error(dct(x, route=route), scipy.fft.dct(exact, norm="ortho")) < TOLERANCE[dtype]
    assert error(idct(x, route=route), scipy.fft.idct(exact, norm="ortho")) < TOLERANCE[dtype]
    assert error(sine_synthesis(x, route=route), exact @ sines(n)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("grid", [(1, 1), (7, 14), (13, 1), (31, 64), (1, 97)])
def test_two_dimensions_agree_with_scipy(grid, route, dtype):
    x = tokens(*grid, dtype)
    expected = scipy.fft.dctn(x.double().numpy(), axes=(1, 2), norm="ortho")
    assert error(dct2(x, route), expected) < TOLERANCE[dtype]
    assert error(idct2(dct2(x, route), route), x.double()) < TOLERANCE[dtype]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dim", [0, 1, 2, 3, -2])
def test_any_dimension(dim, route):
    x = tokens(4, 5, batch=6, channels=7)
    assert error(dct(x, dim, route), scipy.fft.dct(x.numpy(), axis=dim, norm="ortho")) < 1e-12


@settings(deadline=None, max_examples=40)
@given(grid=grids, route=st.sampled_from(ROUTES), seed=st.integers(0, 2**31))
def test_inverse_of_forward_is_the_identity_and_energy_is_kept(grid, route, seed):
    x = tokens(*grid, seed=seed)
    spectrum = dct2(x, route)
    assert torch.allclose(idct2(spectrum, route), x, atol=1e-12)
    assert torch.allclose(spectrum.square().sum((1, 2)), x.square().sum((1, 2)), rtol=1e-12)


@settings(deadline=None, max_examples=40)
@given(grid=grids, seed=st.integers(0, 2**31))
def test_routes_agree_on_every_synthesis(grid, seed):
    y = tokens(*grid, seed=seed)
    for height in ("cosine", "sine"):
        for width in ("cosine", "sine"):
            by_matrix, by_fft = (synthesis2(y, height, width, route) for route in ROUTES)
            assert torch.allclose(by_matrix, by_fft, atol=1e-12)


def test_a_constant_image_has_one_coefficient():
    spectrum = dct2(torch.full((1, 6, 10, 1), 3.0, dtype=torch.float64))
    assert spectrum[0, 0, 0, 0].item() == pytest.approx(3 * 60**0.5, rel=1e-14)
    spectrum[0, 0, 0, 0] = 0
    assert spectrum.abs().max() < 1e-13


def test_cosine_synthesis_is_even_and_sine_synthesis_is_odd():
    """One coefficient synthesises to a wave mirrored about the centre, with opposite signs for the two."""
    y = torch.zeros(1, 9, dtype=torch.float64)
    y[0, 2] = 1
    assert torch.allclose(idct(y), idct(y).flip(-1))
    assert torch.allclose(sine_synthesis(y), -sine_synthesis(y).flip(-1))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_differentiable_to_second_order(n, route):
    x = torch.randn(2, n, dtype=torch.float64, requires_grad=True)
    for function in (dct, idct, sine_synthesis):

        def cubed(x, function=function):
            return function(x, -1, route) ** 3

        assert gradcheck(cubed, x)
        assert gradgradcheck(cubed, x)


@pytest.mark.parametrize("route", ROUTES)
def test_no_complex_number_leaves(route):
    for function in (dct, idct, sine_synthesis):
        assert not function(torch.randn(3, 8), -1, route).is_complex()


def test_auto_takes_the_matrix_below_the_crossover_and_the_fft_from_it():
    for n in (FFT_FROM["cpu"] - 1, FFT_FROM["cpu"]):
        x = tokens(1, n, torch.float32)
        expected = "fft" if n >= FFT_FROM["cpu"] else "matrix"
        assert torch.equal(dct(x, 2), dct(x, 2, expected))


# ---- precision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_bfloat16_stays_bfloat16(route):
    x = tokens(56, 56).bfloat16()
    back = idct2(dct2(x, route), route)
    assert back.dtype == torch.bfloat16
    # 2e-2 of the largest value (about 4): bfloat16 keeps 8 bits, and four passes round once each.
    assert error(back.float(), x.float()) < 8e-2


@pytest.mark.parametrize("route", ROUTES)
def test_float16_is_returned_in_float32_and_does_not_overflow(route):
    x = torch.full((1, 160, 160, 1), 500.0, dtype=torch.float16)
    spectrum = dct2(x, route)
    assert spectrum.dtype == torch.float32
    assert spectrum[0, 0, 0, 0].item() == pytest.approx(80_000, rel=1e-5)  # float16 ends at 65,504
    assert error(idct2(spectrum, route), x.float()) < 1e-2


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("autocast", "expected"), [("bfloat16", "bfloat16"), ("float16", "float32")])
def test_autocast(autocast, expected, route):
    x = tokens(8, 8, torch.float32)
    with torch.autocast("cpu", getattr(torch, autocast)):
        spectrum = dct2(x, route)
        double = dct2(x.double(), route)
    assert spectrum.dtype == getattr(torch, expected)
    assert double.dtype == torch.float64
    assert error(double, dct2(x.double())) < 1e-12


def test_float32_stays_exact_for_long_axes():
    """The matrix is built in float64: built in float32 it would be off by 6e-6 at 512."""
    x = tokens(1, 2048, torch.float32)
    for route in ROUTES:
        expected = scipy.fft.dct(x.double().numpy(), axis=2, norm="ortho")
        assert error(dct(x, 2, route), expected) < 1e-5


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dct(torch.arange(4)), r"int64.*x\.float\(\)"),
        (lambda: dct(torch.ones(4, dtype=torch.complex64)), "complex64"),
        (lambda: dct(torch.ones(3, 0)), r"\(3, 0\) is empty"),
        (lambda: dct(torch.ones(3), 1), "dim 1 is out of range"),
        (lambda: dct(torch.ones(3), 0, "fast"), "'fast' is unknown; use 'auto', 'matrix' or 'fft'"),
        (lambda: dct2(torch.ones(3, 4, 5)), r"\(batch, height, width, channels\), got \(3, 4, 5\)"),
        (lambda: synthesis2(torch.ones(1, 2, 2, 1), "sin"), "'sin' is unknown; use 'cosine' or 'sine'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
