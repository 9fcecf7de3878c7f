"""Every schedule warms up, and falls as its name says."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsmixer.engine.schedule import Schedule, for_batch


@given(st.sampled_from(["cosine", "poly"]), st.integers(1, 2000), st.data())
def test_the_rate_warms_up_then_falls_to_the_floor(kind, total, data):
    warmup = data.draw(st.integers(0, total))
    schedule = Schedule(kind, 1.0, 0.01, warmup, total, power=data.draw(st.floats(0.5, 2)))
    rates = [schedule.rate(step) for step in range(total)]
    assert all(0 < rate <= 1 for rate in rates)
    assert all(later >= earlier for earlier, later in pairwise(rates[:warmup]))
    assert all(later <= earlier for earlier, later in pairwise(rates[warmup:]))
    assert not warmup or rates[warmup - 1] == 1
    assert total - warmup < 2 or math.isclose(rates[-1], 0.01)


@pytest.mark.parametrize(("epochs", "drops"), [(12, (8, 11)), (36, (27, 33))])
def test_1x_and_3x_fall_to_a_tenth_at_the_first_step_after_each_drop(epochs, drops):
    schedule = Schedule("step", 1e-4, 0.0, 3, 7 * epochs, drops=tuple(7 * drop for drop in drops))
    rates = [schedule.rate(step) for step in range(7 * epochs)]
    assert rates[:3] == pytest.approx([1e-4 / 3, 2e-4 / 3, 1e-4])
    assert rates[3 : 7 * drops[0]] == [1e-4] * (7 * drops[0] - 3)
    assert rates[7 * drops[0] : 7 * drops[1]] == pytest.approx([1e-5] * 7 * (drops[1] - drops[0]))
    assert rates[7 * drops[1] :] == pytest.approx([1e-6] * 7 * (epochs - drops[1]))


def test_poly_is_the_power_of_what_is_left():
    schedule = Schedule("poly", 1.0, 0.0, 0, 11, power=0.9)
    assert schedule.rate(5) == pytest.approx(0.5**0.9)


def test_a_rate_is_in_proportion_to_the_batch():
    assert for_batch(1e-4, 16, 4) == pytest.approx(2.5e-5)
    assert for_batch(1e-4, None, 4) == 1e-4
