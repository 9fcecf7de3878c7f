"""Randomness is counted: a function of integers, and nothing left behind."""

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsmixer.data.loader import CountedBatches
from dsmixer.data.seeds import borrowed_generators, counted_seed, epoch_order, seed_generators

SEED, SMALL = st.integers(0, 2**63 - 1), st.integers(0, 200)


@given(SEED, SMALL, st.integers(1, 300))
def test_an_epochs_order_is_a_permutation_and_a_function_of_seed_and_epoch(seed, epoch, count):
    order = epoch_order(count, seed, epoch)
    assert sorted(order) == list(range(count))
    assert (order == epoch_order(count, seed, epoch)).all()
    if count > 50:
        assert (order != epoch_order(count, seed, epoch + 1)).any()
        assert (order != epoch_order(count, seed + 1, epoch)).any()


@given(SEED, st.integers(1, 60), st.integers(1, 8), st.integers(1, 4), st.data())
def test_batches_from_the_middle_are_the_batches_of_the_whole(seed, count, batch_size, epochs, data):
    per_epoch = max(1, count // batch_size)
    total = per_epoch * epochs
    start = data.draw(st.integers(0, total))
    settings = {"batches_per_epoch": per_epoch, "epochs": epochs, "seed": seed}
    whole = list(CountedBatches(count, batch_size, **settings, start=0))
    assert list(CountedBatches(count, batch_size, **settings, start=start)) == whole[start:]
    for epoch in range(epochs):
        seen = [key for batch in whole[epoch * per_epoch : (epoch + 1) * per_epoch] for key in batch]
        assert len(set(seen)) == len(seen)
        assert {number for number, _ in seen} == {epoch}


def test_a_seed_is_the_same_on_every_machine_and_run():
    # written down once: a change here changes every run that will be resumed
    assert counted_seed(0, 2, 3, 4) == 4489251389841015046
    assert len({counted_seed(a, b, c) for a in range(4) for b in range(4) for c in range(4)}) == 64


def test_borrowed_generators_come_back_as_they_were():
    seed_generators(7)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    seed_generators(7)
    with borrowed_generators():
        seed_generators(99)
        random.random(), np.random.rand(), torch.rand(1)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
