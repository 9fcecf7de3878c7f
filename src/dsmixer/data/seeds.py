"""Counted randomness: every draw is a function of a few integers, so a resumed run needs only its step.

The hash is NumPy's ``SeedSequence``, whose output is fixed across versions and platforms and does not depend on
``PYTHONHASHSEED``. The first word after the seed says what the numbers are for, so that no two uses share a stream.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

WEIGHTS, ORDER, SAMPLE, STEP, REPLACEMENT = range(5)


def counted_seed(seed: int, purpose: int, *counters: int) -> int:
    """A 64-bit seed for (seed, purpose, counters): equal arguments give equal seeds, on any machine."""
    return int(np.random.SeedSequence([seed, purpose, *counters]).generate_state(1, np.uint64)[0])


def seed_generators(value: int) -> None:
    """Put the CPU generators of Python, NumPy and PyTorch where ``value`` says; augmentations use all three."""
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)
    torch.default_generator.manual_seed(value)


def seed_step(seed: int, step: int, rank: int) -> None:
    """The generators of one training step on one of several processes.

    Python's and NumPy's, from which mixup draws, are the same on all: the pairs of a batch share its mix. PyTorch's
    differ: two processes that drop paths drop others.
    """
    common = counted_seed(seed, STEP, step)
    seed_generators(common)
    torch.manual_seed(counted_seed(seed, STEP, step, rank) if rank else common)  # every GPU's as well


@contextmanager
def borrowed_generators() -> Iterator[None]:
    """Inside, the CPU generators may be seeded at will; afterwards they stand where they stood.

    So reading samples in the training process (workers=0) leaves the same trace there as reading them elsewhere: none.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits ``count`` samples: a permutation, and a function of (seed, epoch) alone."""
    return np.random.Generator(np.random.Philox(counted_seed(seed, ORDER, epoch))).permutation(count)
