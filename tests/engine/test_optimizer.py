"""The schedule is a pure function; the averaged weights follow the formula."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dsmixer.engine.optimizer import AveragedWeights, learning_rate, make_optimizer, set_learning_rate


@given(st.integers(1, 2000), st.data())
def test_the_rate_warms_up_then_falls_to_the_floor(total, data):
    warmup = data.draw(st.integers(0, total))
    rates = [learning_rate(step, total, warmup, 1.0, 0.01) for step in range(total)]
    assert all(0 < rate <= 1 for rate in rates)
    assert all(later >= earlier for earlier, later in pairwise(rates[:warmup]))
    assert all(later <= earlier for earlier, later in pairwise(rates[warmup:]))
    assert not warmup or rates[warmup - 1] == 1
    assert total - warmup < 2 or math.isclose(rates[-1], 0.01)


def test_vectors_are_not_decayed_and_layers_get_their_rate():
    import timm

    model = timm.create_model("dsm_test", num_classes=2)
    optimizer = make_optimizer(model, "adamw", 1.0, 0.1, layer_decay=0.5)
    set_learning_rate(optimizer, 2.0)
    for group in optimizer.param_groups:
        assert group["lr"] == 2.0 * group["lr_scale"]
        assert group["weight_decay"] == (0.0 if all(p.ndim <= 1 for p in group["params"]) else 0.1)
    assert len({group["lr"] for group in optimizer.param_groups}) > 2
    with pytest.raises(ValueError, match=r"optim.name is adamv, which timm does not have; try .*adam"):
        make_optimizer(model, "adamv", 1.0, 0.1, None)


def test_averaged_weights_follow_the_formula_buffers_included():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    averaged = AveragedWeights(model, 0.9)
    expected = model[0].weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            model[0].weight.add_(1.0)
            model[1].num_batches_tracked.add_(1)
        averaged.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(averaged.model[0].weight, expected)
    assert averaged.model[1].num_batches_tracked == 30
