"""Bands are made of frequencies, not of bins: one meaning at every resolution."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsmixer.spectral import (
    band_energies,
    band_powers,
    dct2,
    ring_powers,
    ring_weights,
    spectrum_weights,
)

sizes = st.integers(1, 300)
counts = st.integers(2, 12)


def bands(n: int, num_bands: int) -> torch.Tensor:
    """(K, n): how much of each frequency belongs to each band, read from the weights of one band's gain at a time."""
    gains = torch.eye(num_bands, dtype=torch.float64)[:, :, None, None].expand(-1, -1, num_bands, -1)
    return spectrum_weights(gains, n, 1)[:, :, 0, 0]


@settings(deadline=None)
@given(n=sizes, num_bands=counts)
def test_partition_of_unity_with_dc_apart(n, num_bands):
    over_axis = bands(n, num_bands)
    assert over_axis.shape == (num_bands, n)
    assert torch.allclose(over_axis.sum(0), torch.ones(n, dtype=torch.float64), atol=1e-14)
    assert over_axis.min() >= 0
    assert over_axis[0].tolist() == [1.0] + [0.0] * (n - 1)
    assert over_axis[1:, 0].sum() == 0


@settings(deadline=None)
@given(n=st.integers(1, 100), factor=st.integers(2, 5), num_bands=counts)
def test_a_frequency_belongs_to_the_same_bands_at_every_resolution(n, factor, num_bands):
    """Row k of n tokens and row k·m of n·m tokens are the same frequency in cycles per token."""
    coarse = bands(n, num_bands)
    fine = bands(n * factor, num_bands)
    assert torch.allclose(fine[:, ::factor], coarse, atol=1e-12)


def test_octaves_are_where_they_are_said_to_be():
    n = 2048
    octaves = bands(n, 6)
    frequency = torch.arange(n) / (2 * n)
    for band, center in enumerate((0, 2**-5.5, 2**-4.5, 2**-3.5, 2**-2.5, 2**-1.5)):
        assert octaves[band, (frequency - center).abs().argmin()] > 0.95
    for edge in (1 / 4, 1 / 8, 1 / 16, 1 / 32):
        at_edge = octaves[:, (frequency - edge).abs().argmin()]
        assert at_edge.topk(2).values.tolist() == pytest.approx([0.5, 0.5], abs=0.01)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 30), width=st.integers(1, 30), num_bands=counts)
def test_band_energies_add_up_to_the_energy_of_the_tokens(height, width, num_bands):
    x = torch.randn(2, height, width, 3, dtype=torch.float64)
    energies = band_energies(dct2(x), num_bands)
    assert energies.shape == (2, num_bands, num_bands, 3)
    assert torch.allclose(energies.sum((1, 2)), x.square().sum((1, 2)))


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 30), width=st.integers(1, 30), num_bands=counts)
def test_equal_gains_give_equal_weights(height, width, num_bands):
    weights = spectrum_weights(torch.full((1, num_bands, num_bands, 2), 1.7, dtype=torch.float64), height, width)
    assert weights.shape == (1, height, width, 2)
    assert torch.allclose(weights, torch.full_like(weights, 1.7))


def test_one_gain_moves_its_own_band_most():
    gains = torch.zeros(1, 5, 5, 1, dtype=torch.float64)
    gains[0, 4, 2, 0] = 1
    weights = spectrum_weights(gains, 64, 64)[0, :, :, 0]
    u, v = divmod(int(weights.argmax()), 64)
    assert 1 / 4 < u / 128 < 1 / 2
    assert 1 / 16 < v / 128 < 1 / 8


def test_powers_read_the_squared_mean_and_the_variance_of_noise_at_every_size():
    generator = torch.Generator().manual_seed(0)
    for size in (8, 32, 96):
        x = 3 + 0.5 * torch.randn(64, size, size, 4, generator=generator, dtype=torch.float64)
        powers = band_powers(dct2(x).square(), 4).mean((0, 3))
        assert powers[0, 0].item() == pytest.approx(9, rel=0.01)
        assert powers[2:, 2:].flatten().tolist() == pytest.approx([0.25] * 4, rel=0.1)


@pytest.mark.parametrize("num_bands", [4, 6, 14])
def test_a_band_without_a_bin_reads_the_nearest_one(num_bands):
    """A 2-token axis has one frequency above DC, 1/4: every octave reads its power, even where exp underflows."""
    power = torch.ones(1, 1, 2, 1)
    power[..., 1, :] = 5.0
    powers = band_powers(power, num_bands)[0, 0, :, 0]
    assert powers.tolist() == pytest.approx([0.5] + [5.0] * (num_bands - 1))
    assert torch.isfinite(band_powers(torch.ones(1, 1, 1, 1), num_bands)).all()


def test_a_wave_is_found_in_its_band():
    """0.35 cycles per token across, constant down: DC by the highest octave."""
    i = torch.arange(40, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * 0.35 * i).expand(24, 40)[None, :, :, None]
    energies = band_energies(dct2(wave), 6)[0, :, :, 0]
    assert energies[0, 5] / energies.sum() > 0.9


def pairs_of_ring(num_bands: int, ring: int) -> torch.Tensor:
    """(K, L): where the higher band of a pair is ``ring``."""
    band = torch.arange(num_bands)
    return torch.maximum(band[:, None], band) == ring


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 30), width=st.integers(1, 30), num_bands=counts)
def test_a_ring_is_the_pairs_of_bands_whose_higher_one_it_is(height, width, num_bands):
    x = torch.randn(2, height, width, 3, dtype=torch.float64)
    rings = ring_powers(dct2(x).square(), num_bands)
    assert rings.shape == (2, num_bands, 3)
    assert torch.allclose(rings[:, 0], x.mean((1, 2)).square())
    energies = band_energies(dct2(x), num_bands)
    in_rows, in_columns = (bands(n, num_bands).sum(1) for n in (height, width))
    for ring in range(1, num_bands):
        pairs = pairs_of_ring(num_bands, ring)
        count = (in_rows[:, None] * in_columns)[pairs].sum().clamp(min=1e-6)
        assert torch.allclose(rings[:, ring], energies[:, pairs].sum(1) / count)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 30), width=st.integers(1, 30), num_bands=counts)
def test_ring_weights_are_the_weights_of_their_pairs(height, width, num_bands):
    gains = torch.rand(2, num_bands, 3, dtype=torch.float64)
    band = torch.arange(num_bands)
    of_pairs = gains[:, torch.maximum(band[:, None], band)]
    weights = ring_weights(gains, height, width)
    assert torch.allclose(weights, spectrum_weights(of_pairs, height, width))
    assert torch.allclose(weights[:, 0, 0], gains[:, 0])


def test_an_empty_ring_reads_nothing():
    """4 tokens an axis have no frequency below 1/8: the ring around 1/45 is empty, the one below 1/8 just not."""
    powers = ring_powers(torch.ones(1, 4, 4, 1), 6)[0, :, 0]
    assert powers.tolist() == pytest.approx([1 / 16, 0, 1, 1, 1, 1], abs=1e-4)
    assert torch.isfinite(ring_powers(torch.ones(1, 1, 1, 1), 6)).all()


def test_too_few_bands_are_refused():
    with pytest.raises(ValueError, match="num_bands is 1; at least 2"):
        band_powers(torch.ones(1, 8, 8, 1), 1)
