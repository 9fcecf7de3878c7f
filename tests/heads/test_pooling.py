"""Pooling by matrix products is adaptive average pooling."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import adaptive_avg_pool2d

from dsmixer.heads.pooling import adaptive_average, window_matrix


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 199), width=st.integers(1, 199), bins=st.integers(1, 8))
def test_it_is_adaptive_average_pooling_at_every_size(height, width, bins):
    x = torch.randn(1, 2, height, width, dtype=torch.float64)
    torch.testing.assert_close(adaptive_average(x, bins), adaptive_avg_pool2d(x, bins))


@pytest.mark.parametrize("n", [1, 5, 6, 7, 200])
def test_windows_are_averages_that_cover_the_axis(n):
    windows = window_matrix(n, torch.zeros((), dtype=torch.float64), 6)
    torch.testing.assert_close(windows.sum(1), torch.ones(6, dtype=torch.float64))
    assert (windows.sum(0) > 0).all()


@pytest.mark.parametrize("bins", [1, 3])
def test_gradients_are_those_of_adaptive_pooling(bins):
    grads = []
    for pool in (adaptive_average, adaptive_avg_pool2d):
        x = torch.arange(2 * 7 * 5.0).view(1, 2, 7, 5).requires_grad_()
        pool(x, bins).square().sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads)
