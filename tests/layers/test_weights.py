"""Spectrum weights: bounded, content-made, the identity at first, and small."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dsmixer.layers import DynamicGains, SpectrumWeights, StaticResponse
from dsmixer.layers.mixer import COSINE_BASES, MIXED_BASES
from dsmixer.spectral import dct2, spectrum_weights

CONTENTS = ("bands", "mean", "both")


def trained(gains: DynamicGains, scale: float = 3.0) -> DynamicGains:
    """As after training: the last layer is no longer zero."""
    torch.nn.init.normal_(gains.to_gains.weight, std=scale)
    return gains


def spectrum(*grid, batch=2, dim=16, seed=0):
    return dct2(torch.randn(batch, *grid, dim, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("content", CONTENTS)
def test_every_gain_is_one_at_initialisation(content):
    gains = DynamicGains(16, content=content)(spectrum(5, 9))
    assert gains.shape == (2, 6, 6, 8)
    assert torch.equal(gains, torch.ones_like(gains))


@pytest.mark.parametrize("content", CONTENTS)
def test_gains_are_bounded_and_finite_for_any_content(content):
    layer = trained(DynamicGains(16, content=content))
    for s in (spectrum(7, 7), torch.zeros(2, 7, 7, 16), 1e4 * spectrum(7, 7), spectrum(1, 1), spectrum(1, 40)):
        gains = layer(s)
        assert torch.isfinite(gains).all()
        assert 0 <= gains.min() <= gains.max() <= 2


def test_gains_depend_on_the_image_alone_not_on_its_neighbours():
    layer = trained(DynamicGains(16))
    s = spectrum(8, 8, batch=3)
    together = layer(s)
    assert torch.allclose(together[1], layer(s[1:2])[0], atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_what_each_content_sees():
    """Band powers do not see the sign of the tokens, the mean does; the mean does not see detail, band powers do."""
    of_bands, of_mean = (trained(DynamicGains(16, content=content)) for content in ("bands", "mean"))
    s = spectrum(8, 8)
    detail = s.clone()
    detail[:, 4:] *= 3
    assert torch.allclose(of_bands(-s), of_bands(s))
    assert not torch.allclose(of_mean(-s), of_mean(s))
    assert torch.allclose(of_mean(detail), of_mean(s))
    assert not torch.allclose(of_bands(detail), of_bands(s))


def test_the_same_texture_gets_the_same_gains_at_another_size():
    """Powers per frequency do not depend on the size: noise of one kind reads nearly alike at 16² and at 64² tokens."""
    layer = trained(DynamicGains(16), scale=0.3)
    small, large = (layer(spectrum(n, n, batch=32)).mean(0) for n in (16, 64))
    smoothed = spectrum(16, 16, batch=32) / torch.arange(1, 17)[:, None, None]
    other = layer(smoothed).mean(0)
    assert (small - large).square().mean() < 0.2 * (small - other).square().mean()


def test_the_static_response_is_one_function_of_frequency_at_every_size():
    response = StaticResponse(8, MIXED_BASES)
    torch.nn.init.normal_(response.band_weights)
    coarse, fine = response(6, 10), response(18, 20)
    assert coarse.shape == (6, 10, 8)
    assert torch.allclose(fine[::3, ::2], coarse, atol=1e-5)


def test_weights_act_band_by_band():
    """With the gain of one band at 0 and the rest at 1, what is lost is that band."""
    weights = SpectrumWeights(StaticResponse(8, COSINE_BASES), DynamicGains(8, num_groups=2))
    with torch.no_grad():
        weights.response.coefficients.zero_()
        weights.response.coefficients[0, 0] = 1
        # 2·sigmoid(-50) = 0 for the highest band of height × DC of width, in the first channel group.
        weights.gains.to_gains.bias.view(6, 6, 2)[5, 0, 0] = -50
    s = spectrum(32, 32, dim=8)
    ratio = weights(s) / s
    one = torch.zeros(1, 6, 6, 2)
    one[0, 5, 0, 0] = 1
    expected = 1 - spectrum_weights(one, 32, 32).repeat_interleave(4, -1)
    assert torch.allclose(ratio, expected.expand_as(ratio), atol=1e-4)


def test_weights_are_never_as_large_as_the_activations():
    """Everything made on the way to the gains and their weights is smaller than batch × height × width × channels."""
    sizes = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result._base is None and not function.is_view:
                sizes.append(result.numel())
            return result

    s = spectrum(20, 20, batch=4, dim=64)
    layer, response = trained(DynamicGains(64)), StaticResponse(64, MIXED_BASES)
    with Recorder():
        spectrum_weights(layer(s), 20, 20)
        response(20, 20)
    assert max(sizes) <= s.numel() // 4


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="dim 12 does not divide into 8"):
        DynamicGains(12)
    with pytest.raises(ValueError, match="'energy' is unknown; use 'bands', 'mean' or 'both'"):
        DynamicGains(16, content="energy")
