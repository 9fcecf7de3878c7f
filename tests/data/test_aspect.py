"""Grouping changes who meets whom in a batch, and nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsmixer.data.aspect import grouped_order, is_wide


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 99), st.integers(0, 9))
def test_every_position_once_and_batches_of_one_group(groups, batch_size, seed, epoch):
    groups = np.array(groups)
    order = grouped_order(groups, batch_size, seed, epoch)
    assert sorted(order) == list(range(len(groups)))
    assert (order == grouped_order(groups, batch_size, seed, epoch)).all()
    whole = len(groups) // batch_size * batch_size
    batches = groups[order[:whole]].reshape(-1, batch_size)
    mixed = (batches != batches[:, :1]).any(1).sum()
    assert mixed <= len(set(groups)) - 1


def test_epochs_differ_and_groups_take_turns():
    groups = np.array([0] * 500 + [1] * 500)
    first, second = (grouped_order(groups, 10, 0, epoch) for epoch in (0, 1))
    assert not (first == second).all()
    halves = groups[first].reshape(2, -1).mean(1)
    assert (abs(halves - 0.5) < 0.15).all()  # not all of one group first


def test_what_is_wide():
    assert is_wide(np.array([[640, 480], [480, 640], [10, 10]])).tolist() == [True, False, False]
