"""The order of an epoch in which images of one shape meet in a batch, for less padding."""

import numpy as np

from dsmixer.data.seeds import epoch_order


def is_wide(sizes: np.ndarray) -> np.ndarray:
    """Which of some (width, height) rows are wider than high: the two groups that detectors are trained by."""
    return sizes[:, 0] > sizes[:, 1]


def grouped_order(groups: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the positions, a function of (seed, epoch), whose batches are of one group each.

    ``groups`` holds any value a position. A batch stands where its last member would have stood in ``epoch_order``, so
    groups are mixed over the epoch; what fills no batch of its own comes last, so that of k groups at most k - 1
    batches are mixed.
    """
    order = epoch_order(len(groups), seed, epoch)
    batches: list[tuple[int, np.ndarray]] = []
    rest = []
    for group in np.unique(groups):
        places = np.flatnonzero(groups[order] == group)
        whole = len(places) // batch_size * batch_size
        batches += [(block[-1], block) for block in places[:whole].reshape(-1, batch_size)]
        rest.append(places[whole:])
    ordered = [block for _, block in sorted(batches, key=lambda batch: batch[0])]
    return order[np.concatenate([*ordered, *rest])]
