"""Which epoch is the best."""

from types import SimpleNamespace

import pytest

from dsmixer.engine.distributed import Group
from dsmixer.engine.loop import close_epoch
from dsmixer.engine.state import Meter


@pytest.mark.parametrize(
    ("scores", "slack", "best"),
    [
        ([0.5, 0.9, 0.8], 0.0, 2),
        ([0.5, 0.9, 0.9, 0.8], 0.0, 3),  # of equals the later
        ([0.5, 0.9, 0.85, 0.7], 0.1, 3),
        ([0.9, 0.85, 0.81, 0.79], 0.1, 3),  # within the slack of the highest, not of the one before
        ([-3.0, -2.0], 0.0, 2),
    ],
)
def test_the_best_epoch_is_the_latest_within_the_slack_of_the_highest(scores, slack, best):
    state = SimpleNamespace(history=[], meter=Meter(), seconds=0.0, step=0, best=None, group=Group())
    task = SimpleNamespace(score=lambda val: val["score"], slack=lambda _: slack)
    plan = SimpleNamespace(batch_size=1, rate=lambda _: 0.1)
    for score in scores:
        state.step += 10
        state.meter.add({})
        close_epoch(state, plan, {"score": score}, task)
    assert (state.best["epoch"], state.best["step"]) == (best, 10 * best)
    assert [row["val_score"] for row in state.history] == scores
