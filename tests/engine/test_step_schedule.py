"""1x and 3x are what papers mean by them."""

import pytest

from dsmixer.engine.step_schedule import STEP_SCHEDULES, rate_for_batch


@pytest.mark.parametrize(("name", "epochs", "drops"), [("1x", 12, (8, 11)), ("3x", 36, (27, 33))])
def test_the_rate_falls_to_a_tenth_at_the_first_step_after_each_drop(name, epochs, drops):
    schedule = STEP_SCHEDULES[name]
    assert schedule.epochs == epochs
    rates = [schedule.rate(step, 7, 1e-4, 3) for step in range(7 * epochs)]
    assert rates[3 : 7 * drops[0]] == [1e-4] * (7 * drops[0] - 3)
    assert rates[7 * drops[0] : 7 * drops[1]] == pytest.approx([1e-5] * 7 * (drops[1] - drops[0]))
    assert rates[7 * drops[1] :] == pytest.approx([1e-6] * 7 * (epochs - drops[1]))


def test_warm_up_is_linear_and_ends():
    rates = [STEP_SCHEDULES["1x"].rate(step, 1000, 4.0, 3) for step in range(6)]
    assert rates == pytest.approx([1, 2, 3, 4, 4, 4])
    assert STEP_SCHEDULES["1x"].rate(0, 1000, 4.0, 0) == 4


def test_the_rate_is_in_proportion_to_the_batch():
    assert rate_for_batch(1e-4, 16) == 1e-4
    assert rate_for_batch(1e-4, 4) == pytest.approx(2.5e-5)
