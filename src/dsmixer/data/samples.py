"""What a split of any kind becomes in training and evaluation: a batch at once, whatever cannot be read in it."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Generic, TypeVar

import numpy as np
from torch.utils.data import Dataset

from dsmixer.data.bad import Bad
from dsmixer.data.seeds import REPLACEMENT, SAMPLE, borrowed_generators, counted_seed, seed_generators
from dsmixer.data.splits import Split

# (epoch, position in the split): all that a sample depends on, beside the run's seed. Positions beyond the split are
# its images once more, augmented anew.
Key = tuple[int, int]
TRIES = 16  # images that are tried in place of one that cannot be read
NAMED = 10  # images of a batch that a message names
B = TypeVar("B")


class Samples(Dataset, Generic[B]):
    """A split as batches; an item is asked for by (epoch, position).

    In place of an image that cannot be read comes another with ``replace``, as training needs it, a function of (seed,
    epoch, position) too; otherwise the batch is shorter, perhaps empty, as an evaluation needs it.
    """

    def __init__(self, split: Split[Any], seed: int, replace: bool) -> None:
        self.split, self.seed, self.replace = split, seed, replace

    @abstractmethod
    def read(self, row: int) -> Any:
        """What lies in a row of the source; ``ValueError`` beginning with its name where it cannot be read."""

    @abstractmethod
    def sample(self, found: Any) -> Any:
        """Tensors of what was read; draws from the global generators alone."""

    @abstractmethod
    def collate(self, samples: list[Any], rows: list[int], bad: tuple[Bad, ...]) -> B:
        """A batch of samples, perhaps of none."""

    def alike(self, row: int) -> tuple[np.ndarray, str]:
        """The rows of which one may take the place of ``row``, and in words what they are."""
        return self.split.rows, "of the split"

    def __len__(self) -> int:
        return len(self.split.rows)

    def row(self, position: int) -> int:
        """The row of the source at a position of the split, or beyond it."""
        return int(self.split.rows[position % len(self.split.rows)])

    def named(self, rows: Iterable[int]) -> str:
        """How many images lie in these rows, each counted once, and what a person calls the first of them."""
        different = list(dict.fromkeys(rows))
        names = ", ".join(self.split.source.name(row) for row in different[:NAMED])
        more = f" and {len(different) - NAMED:,} more" if len(different) > NAMED else ""
        return f"{len(different):,} image{'s' * (len(different) != 1)}: {names}{more}"

    def __getitems__(self, keys: list[Key]) -> B:
        """A whole batch at once: the generators are put back once, not after every sample."""
        samples, rows, bad = [], [], list[Bad]()
        with borrowed_generators():
            for key in keys:
                row, found = self._readable(key, bad)
                if found is not None:
                    seed_generators(counted_seed(self.seed, SAMPLE, *key))
                    samples.append(self.sample(found))
                    rows.append(row)
        return self.collate(samples, rows, tuple(bad))

    def _readable(self, key: Key, bad: list[Bad]) -> tuple[int, Any]:
        """Row and content of a sample or of its replacement, or None; what cannot be read is added to ``bad``."""
        row = self.row(key[1])
        for candidate in chain([row], self._replacements(key, row) if self.replace else ()):
            try:
                return candidate, self.read(candidate)
            except ValueError as error:
                name = self.split.source.name(candidate)
                bad.append((name, str(error).removeprefix(f"{name}: ")))
        if self.replace:
            raise ValueError(f"no readable image {self.alike(row)[1]}: {'; '.join(map(': '.join, bad))}")
        return row, None

    def _replacements(self, key: Key, row: int) -> Iterator[int]:
        """Others in a counted order: some alike, and then, as if none of those can be read, some of the whole split."""
        alike, _ = self.alike(row)
        random = np.random.Generator(np.random.Philox(counted_seed(self.seed, REPLACEMENT, *key)))
        yield from random.permutation(alike[alike != row])[:TRIES].tolist()
        yield from random.permutation(np.setdiff1d(self.split.rows, alike))[:TRIES].tolist()
