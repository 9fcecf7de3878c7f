"""Spectrum weights: content-made, one meaning at every size, and small."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dsmixer.layers import DynamicGains, SpectrumWeights, StaticResponse
from dsmixer.layers.mixer import GATE_BASES, VALUE_BASES
from dsmixer.spectral import dct2


def spectrum(*grid, batch=2, dim=16, seed=0):
    return dct2(torch.randn(batch, *grid, dim, generator=torch.Generator().manual_seed(seed)))


def test_gains_follow_the_power_law():
    """A frequency of c times the average power gets the gain c^γ, and only its own group notices."""
    layer = DynamicGains(16, num_groups=2)
    s = torch.full((1, 32, 32, 16), 100.0)  # far above the floor
    s[0, 20, 24, :8] *= 3
    for exponent in (0.5, 1.0, -1.0):
        torch.nn.init.constant_(layer.exponents, exponent)
        gains = layer(s)[0]
        assert gains[20, 24, 0].item() == pytest.approx(9**exponent, rel=0.02)  # the wave itself raises the average
        assert torch.allclose(gains[1:, 1:, 1], torch.ones(31, 31), atol=1e-5)


def test_the_mean_counts_as_such_at_every_size():
    """P(0, 0) is the squared mean of the tokens, the average their variance."""
    layer = DynamicGains(4, num_groups=1)
    torch.nn.init.ones_(layer.exponents)
    generator = torch.Generator().manual_seed(0)
    for side in (8, 32):
        x = 30 + 10 * torch.randn(16, side, side, 4, generator=generator)
        assert layer(dct2(x))[:, 0, 0].mean().item() == pytest.approx(9, rel=0.05)


def test_an_exponent_of_zero_is_static_and_of_minus_one_half_whitens():
    layer = DynamicGains(16, num_groups=1)
    s = 1e4 * spectrum(64, 64) / torch.arange(1, 65)[:, None, None]
    assert torch.equal(layer(s), torch.ones(2, 64, 64, 1))
    torch.nn.init.constant_(layer.exponents, -0.5)
    weighted = s * layer(s)
    assert s[:, 1:4].var() / s[:, 32:].var() > 100
    assert 0.5 < weighted[:, 1:4, 1:].var() / weighted[:, 32:, 1:].var() < 2


def trained(gains: DynamicGains) -> DynamicGains:
    """As after training: the exponents are no longer zero."""
    torch.nn.init.normal_(gains.exponents, std=0.5)
    return gains


def test_gains_are_positive_and_finite_for_any_content():
    layer = trained(DynamicGains(16))
    for s in (spectrum(7, 7), torch.zeros(2, 7, 7, 16), 1e4 * spectrum(7, 7), spectrum(1, 1), spectrum(1, 40)):
        gains = layer(s)
        assert gains.shape == (*s.shape[:3], 8)
        assert torch.isfinite(gains).all()
        assert gains.min() > 0


def test_gains_depend_on_the_image_alone_not_on_its_neighbours():
    layer = trained(DynamicGains(16))
    s = spectrum(8, 8, batch=3)
    together = layer(s)
    assert torch.allclose(together[1], layer(s[1:2])[0], atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_the_same_texture_gets_the_same_gains_at_another_size():
    """Power per frequency does not depend on the size: noise reads nearly alike at 16² and at 64² tokens."""
    layer = trained(DynamicGains(64, num_groups=1))
    small, large = (layer(spectrum(n, n, batch=32, dim=64)).mean(0) for n in (16, 64))
    large = large[::4, ::4]  # the same frequencies
    smoothed = spectrum(16, 16, batch=32, dim=64) / torch.arange(1, 17)[:, None, None]
    other = layer(smoothed).mean(0)
    assert (small - large).square().mean() < 0.2 * (small - other).square().mean()


def test_the_static_response_is_one_function_of_frequency_at_every_size():
    response = StaticResponse(8, VALUE_BASES)
    torch.nn.init.normal_(response.band_weights)
    coarse, fine = response(6, 10), response(18, 20)
    assert coarse.shape == (6, 10, 8)
    assert torch.allclose(fine[::3, ::2], coarse, atol=1e-5)


def test_an_identity_response_is_one_plus_a_small_filter():
    torch.manual_seed(0)
    plain, identity = (StaticResponse(512, GATE_BASES, identity=flag)(8, 8) for flag in (False, True))
    assert abs(plain.mean()) < 0.05
    assert abs(identity.mean() - 1) < 0.05


def test_weights_are_the_responses_side_by_side_times_the_gains():
    responses = [StaticResponse(8, VALUE_BASES), StaticResponse(8, GATE_BASES, identity=True)]
    weights = SpectrumWeights(responses, trained(DynamicGains(16, num_groups=4)))
    s = spectrum(6, 10)
    gains = weights.gains(s).repeat_interleave(4, -1)
    expected = s * gains * torch.cat([response(6, 10) for response in responses], -1)
    assert torch.allclose(weights(s), expected, atol=1e-5)


def test_gains_and_responses_are_never_as_large_as_the_activations():
    """Everything made on the way to the gains and their weights is smaller than batch × height × width × channels."""
    sizes = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result._base is None and not function.is_view:
                sizes.append(result.numel())
            return result

    s = spectrum(20, 20, batch=4, dim=64)
    layer, response = trained(DynamicGains(64)), StaticResponse(64, VALUE_BASES)
    with Recorder():
        layer(s)
        response(20, 20)
    assert max(sizes) <= s.numel() // 4


def test_groups_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="dim 12 does not divide into 8"):
        DynamicGains(12)
