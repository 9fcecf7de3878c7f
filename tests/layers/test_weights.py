"""Spectrum weights: content-made, one meaning at every size, and small."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dsmixer.layers import DynamicGains, SpectrumWeights, StaticResponse
from dsmixer.spectral import dct2, ring_powers


def spectrum(*grid, batch=2, dim=16, seed=0):
    return dct2(torch.randn(batch, *grid, dim, generator=torch.Generator().manual_seed(seed)))


def test_gains_follow_the_power_law():
    """A ring of c times the power gets c^(-α/2) of the gain, and only its own channel notices."""
    layer = DynamicGains(2)
    s = torch.full((1, 32, 32, 2), 100.0)  # far above the floor
    louder = s.clone()
    louder[:, 1:, 1:, 0] *= 3  # everything but the mean, and rows and columns without a wave
    for exponent in (0.0, 0.5, 1.0, -1.0):
        torch.nn.init.constant_(layer.exponents, exponent)
        ratio = layer(louder) / layer(s)
        assert ratio[0, 24:, 24:, 0].mean().item() == pytest.approx(9 ** (-exponent / 2), rel=0.03)
        assert torch.equal(ratio[..., 1], torch.ones(1, 32, 32))


def test_the_mean_of_the_tokens_is_never_weighed():
    s = 100 * spectrum(8, 9)
    assert torch.equal(DynamicGains(16)(s)[:, 0, 0], torch.ones(2, 16))


def test_an_exponent_of_zero_is_static_and_of_one_evens_the_rings_out():
    layer = DynamicGains(16)
    s = 1e4 * spectrum(64, 64) / (1 + torch.arange(64)[:, None, None] + torch.arange(64)[:, None])
    torch.nn.init.zeros_(layer.exponents)
    assert torch.allclose(layer(s), torch.ones(1), atol=1e-6)
    torch.nn.init.ones_(layer.exponents)
    before, after = (ring_powers(part.square(), 6)[:, 1:] for part in (s, s * layer(s)))
    assert before.amax() / before.amin() > 100
    assert after.amin() > 0.5  # neighbouring rings overlap, so it is not exactly 1
    assert after.amax() < 2


def trained(gains: DynamicGains) -> DynamicGains:
    """As after training: the exponents are no longer zero."""
    torch.nn.init.normal_(gains.exponents, std=0.5)
    return gains


def test_gains_are_positive_and_finite_for_any_content():
    layer = trained(DynamicGains(16))
    for s in (spectrum(7, 7), torch.zeros(2, 7, 7, 16), 1e4 * spectrum(7, 7), spectrum(1, 1), spectrum(1, 40)):
        gains = layer(s)
        assert gains.shape == s.shape
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
    layer = trained(DynamicGains(64))
    small, large = (layer(spectrum(n, n, batch=32, dim=64)).mean(0) for n in (16, 64))
    large = large[::4, ::4]  # the same frequencies
    smoothed = spectrum(16, 16, batch=32, dim=64) / torch.arange(1, 17)[:, None, None]
    other = layer(smoothed).mean(0)
    assert (small - large).square().mean() < 0.2 * (small - other).square().mean()


def test_the_static_response_is_one_function_of_frequency_at_every_size():
    response = StaticResponse(8)
    torch.nn.init.normal_(response.band_weights)
    coarse, fine = response(6, 10), response(18, 20)
    assert coarse.shape == (6, 10, 8)
    assert torch.allclose(fine[::3, ::2], coarse, atol=1e-5)


def test_the_last_channels_may_start_as_one_plus_a_small_filter():
    torch.manual_seed(0)
    plain, identity = StaticResponse(768, identity=256)(8, 8).split([512, 256], -1)
    assert abs(plain.mean()) < 0.05
    assert abs(identity.mean() - 1) < 0.05


def test_weights_are_the_response_times_the_gains():
    weights = SpectrumWeights(16)
    trained(weights.gains)
    s = spectrum(6, 10)
    assert torch.allclose(weights(s), s * weights.gains(s) * weights.response(6, 10), atol=1e-5)


def test_the_response_is_smaller_than_the_activations_and_the_gains_are_never_larger():
    """Everything made on the way to them, against batch × height × width × channels."""
    sizes = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result._base is None and not function.is_view:
                sizes.append(result.numel())
            return result

    s = spectrum(20, 20, batch=4, dim=64)
    layer, response = trained(DynamicGains(64)), StaticResponse(64)
    with Recorder():
        response(20, 20)
    assert max(sizes) <= s.numel() // 4
    with Recorder():
        layer(s)
    assert max(sizes) <= s.numel()


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_gains_in_bfloat16_are_those_in_float32_over_a_spectrum_that_falls_steeply(scale):
    """Power sums of 3,136 frequencies, six orders of magnitude apart: nothing small is lost beside what is large."""
    layer = trained(DynamicGains(16))
    distance = 1 + torch.hypot(torch.arange(56.0)[:, None], torch.arange(56.0))
    s = scale * (spectrum(56, 56) * 56 / distance[..., None] ** 1.5).bfloat16()
    gains = layer(s)
    assert gains.dtype == torch.bfloat16
    # Half a unit of the last of 8 bits for the ring's power, the gain and the sum of two rings.
    assert (gains.float() / layer(s.float()) - 1).abs().max() < 0.012
