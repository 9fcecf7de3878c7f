"""The mixer: every token meets every other, at any size, in any precision, with every option."""

import pytest
import torch
from torch.nn.functional import silu

from dsmixer.layers import SpectrumBlock, SpectrumMixer
from dsmixer.layers.norm import LayerNorm
from dsmixer.spectral import dct2, idct2

OPTIONS = ({}, {"num_bands": 3, "num_terms": 2}, {"route": "fft"}, {"kernel_size": 1})
GRIDS = ((1, 1), (1, 9), (7, 7), (14, 5), (33, 20))


def tokens(height, width, dim=16, batch=2, seed=0):
    return torch.randn(batch, height, width, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_any_size_and_every_parameter_learns(options):
    mixer = SpectrumMixer(16, **options)
    for grid in GRIDS:
        x = tokens(*grid)
        y = mixer(x)
        assert y.shape == x.shape
        y.square().mean().backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_one_token_reaches_every_other():
    mixer = SpectrumMixer(16)
    torch.nn.init.normal_(mixer.weights.response.band_weights)
    x = tokens(9, 11, batch=1).requires_grad_()
    mixer(x)[0, 8, 10].sum().backward()
    assert (x.grad[0].abs().amax(-1) > 0).all()


def test_both_routes_are_the_same_mixer():
    torch.manual_seed(0)
    by_matrix = SpectrumMixer(16, route="matrix")
    by_fft = SpectrumMixer(16, route="fft")
    by_fft.load_state_dict(by_matrix.state_dict())
    x = tokens(13, 8)
    assert torch.allclose(by_matrix(x), by_fft(x), atol=1e-5)


def test_left_and_right_differ():
    """Cosines alone would mix a flipped image into the flipped mix, whatever the weights; convolutions break that."""
    mixer, x = SpectrumMixer(16), tokens(6, 10)
    assert not torch.allclose(mixer(x.flip(2)), mixer(x).flip(2), atol=1e-3)
    with torch.no_grad():
        for near in (mixer.near_values, mixer.near_gate):
            near.weight.zero_()
    assert torch.allclose(mixer(x.flip(2)), mixer(x).flip(2), atol=1e-5)


def test_the_mixer_is_its_formula():
    torch.manual_seed(0)
    mixer, x = SpectrumMixer(16), tokens(7, 9)
    with torch.no_grad():
        mixer.weights.response.band_weights.normal_()
        s = dct2(mixer.proj(x))
        far = idct2(s * mixer.weights.response(7, 9) * mixer.weights.gains(s))
        values = far[..., :16] + near(mixer.near_values, x)
        gate = far[..., 16:] + near(mixer.near_gate, x)
        assert torch.allclose(mixer(x), mixer.out_proj(mixer.norm(values) * silu(gate)), atol=1e-5)


def near(conv, x):
    """A depthwise convolution, zeros outside."""
    x = x.permute(0, 3, 1, 2)
    return torch.nn.functional.conv2d(x, conv.weight, conv.bias, 1, 1, 1, x.shape[1]).permute(0, 2, 3, 1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_weights_and_autocast_agree_with_float32(dtype, options):
    torch.manual_seed(0)
    mixer = SpectrumMixer(32, **options)
    x = tokens(14, 14, dim=32)
    with torch.no_grad():
        expected = mixer(x)
        with torch.autocast("cpu", dtype):
            autocast = mixer(x)
        cast = mixer.to(dtype)(x.to(dtype))
    assert cast.dtype == dtype
    # bfloat16 keeps 8 bits and the mixer rounds about six times in a row.
    tolerance = {torch.bfloat16: 5e-2, torch.float16: 5e-3}[dtype] * expected.abs().max()
    assert (autocast.float() - expected).abs().max() < tolerance
    assert (cast.float() - expected).abs().max() < tolerance


def test_under_autocast_the_backward_pass_keeps_no_wide_copy_of_the_spectrum():
    """Float32 costs twice the memory; what is small may have it."""
    mixer, x = SpectrumMixer(16), tokens(20, 20).requires_grad_()
    wide = []

    def keep(saved):
        wide.extend([saved.shape] if saved.dtype == torch.float32 and saved.numel() >= x.numel() else [])
        return saved

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        y = mixer(x)
    assert y.dtype == torch.bfloat16
    assert wide == []


def test_gradients_are_contiguous_as_ddp_wants_them():
    mixer = SpectrumMixer(16)
    mixer(tokens(5, 6)).sum().backward()
    assert all(p.grad.stride() == p.stride() for p in mixer.parameters())


def test_under_autocast_a_layer_norm_keeps_the_dtype_and_nearly_the_values():
    norm, x = LayerNorm(16), 3 + tokens(5, 6).bfloat16()
    torch.nn.init.normal_(norm.weight)
    expected = norm(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        normed = norm(x)
    assert normed.dtype == torch.bfloat16
    torch.testing.assert_close(normed.float(), expected, atol=0.01, rtol=0.01)


def test_float16_survives_a_large_mean_on_a_large_grid():
    mixer = SpectrumMixer(8).half()
    with torch.no_grad():
        assert torch.isfinite(mixer(torch.full((1, 160, 160, 8), 500.0, dtype=torch.float16))).all()


def test_a_kernel_without_a_middle_is_an_error():
    with pytest.raises(ValueError, match="kernel_size 4 has no middle"):
        SpectrumMixer(16, kernel_size=4)


def test_a_block_adds_mixer_and_gated_mlp_of_one_norm():
    torch.manual_seed(0)
    block, x = SpectrumBlock(16), tokens(5, 6)
    y = block.norm(x)
    gated = torch.nn.functional.gelu(block.mlp.fc1_g(y)) * block.mlp.fc1_x(y)
    torch.testing.assert_close(block(x), x + 0.5 * (block.mixer(y) + block.mlp.fc2(gated)))


def test_a_block_without_layer_scale_has_fewer_parameters_and_starts_in_training_as_asked():
    count = [sum(p.numel() for p in SpectrumBlock(16, init_values=v).parameters()) for v in (0.5, None)]
    assert count[0] - count[1] == 16
    block = SpectrumBlock(16, drop_path=0.999).train()
    x = tokens(4, 4, batch=1)
    torch.manual_seed(0)
    assert torch.equal(block(x), x)
