"""Grouping changes who meets whom in a batch, and nothing else."""

from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsmixer.data.boxes.aspect import grouped_order, is_wide
from dsmixer.data.loader import CountedBatches


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


GROUPS = np.arange(50) % 3 == 0
PLAN = {"batches_per_epoch": 6, "epochs": 3, "seed": 7, "order": partial(grouped_order, GROUPS, 8, 7)}


def test_a_run_takes_its_order_from_the_groups():
    batches = list(CountedBatches(50, 8, start=0, **PLAN))
    assert [epoch for keys in batches for epoch, _ in keys] == [0] * 48 + [1] * 48 + [2] * 48
    mixed = [len({GROUPS[position] for _, position in keys}) > 1 for keys in batches]
    assert sum(mixed) <= 3  # one an epoch
    places = [[position for _, position in keys] for keys in batches]
    assert places[:6] == PLAN["order"](0)[:48].reshape(6, 8).tolist()
    assert places[6:12] == PLAN["order"](1)[:48].reshape(6, 8).tolist()


def test_copies_of_an_image_stay_in_its_group():
    batches = list(CountedBatches(50, 8, start=0, repeats=2, **PLAN))
    assert all(
        keys[i][1] % 50 == keys[i + 1][1] % 50 != keys[i + 2][1] % 50 for keys in batches for i in range(0, 6, 2)
    )
    assert sum(len({GROUPS[position % 50] for _, position in keys}) > 1 for keys in batches) == 0


@given(st.integers(0, 17), st.integers(1, 3))
def test_a_grouped_run_goes_on_in_the_middle_of_an_epoch_and_is_shared_by_processes(start, repeats):
    whole = list(CountedBatches(50, 8, start=0, repeats=repeats, **PLAN))
    assert list(CountedBatches(50, 8, start=start, repeats=repeats, **PLAN)) == whole[start:]
    parts = [list(CountedBatches(50, 8, start=start, repeats=repeats, rank=rank, world=2, **PLAN)) for rank in (0, 1)]
    for one, two, keys in zip(*parts, whole[start:], strict=True):
        assert len(one) == len(two) == 4
        assert sorted([*one, *two]) == sorted(keys)
