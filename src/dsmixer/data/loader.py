"""Batches whose content is a function of (seed, epoch, position), for any number of workers and from any step on."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from dsmixer.data.bad import Bad, BadFiles, DataError
from dsmixer.data.samples import Key, Samples
from dsmixer.data.seeds import epoch_order
from dsmixer.data.splits import Split
from dsmixer.data.transforms import Transform


class Batch(NamedTuple):
    """Images (B, C, H, W), class indices (B,), the rows they came from (B,), and those that cannot be read."""

    images: Tensor
    targets: Tensor
    rows: Tensor
    bad: tuple[Bad, ...] = ()

    def to(self, device: torch.device, channels_last: bool = False) -> "Batch":
        """On another device, without waiting for the copy; rows stay, they are only ever printed."""
        layout = torch.channels_last if channels_last else torch.preserve_format
        images = self.images.to(device, non_blocking=True, memory_format=layout)
        return self._replace(images=images, targets=self.targets.to(device, non_blocking=True))

    def pack(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {"images": self.images, "targets": self.targets, "rows": self.rows}

    @classmethod
    def unpack(cls, tensors: dict[str, Tensor]) -> "Batch":
        """The batch that was packed."""
        return cls(tensors["images"], tensors["targets"], tensors["rows"])


class CountedBatches:
    """The batches of a whole run as lists of (epoch, position), beginning anywhere.

    Because a sample carries its epoch, workers live through all epochs and a resumed run starts at batch ``start``
    without replaying any. Every epoch drops the remainder that does not fill a batch. With ``repeats`` an epoch is as
    long as without, but shows 1 / repeats of the images, each that many times in a row (Hoffer et al. 2020).

    ``order`` gives an epoch's permutation of the positions, a function of the epoch; None for ``epoch_order``.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        batches_per_epoch: int,
        epochs: int,
        seed: int,
        start: int,
        repeats: int = 1,
        rank: int = 0,
        world: int = 1,
        order: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self.order = order or partial(epoch_order, count, seed)
        self.batch_size, self.batches_per_epoch = batch_size, batches_per_epoch
        self.repeats, self.rank, self.world = repeats, rank, world
        self.stop, self.start = batches_per_epoch * epochs, start
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return self.stop - self.start

    def batch(self, number: int) -> list[Key]:
        """This process's samples of one batch of the run."""
        epoch, place = divmod(number, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, repeated(self.order(epoch), self.repeats)
        keys = [(epoch, int(i)) for i in self._order[place * self.batch_size : (place + 1) * self.batch_size]]
        return share(keys, self.rank, self.world)

    def __iter__(self) -> Iterator[list[Key]]:
        return map(self.batch, range(self.start, self.stop))


def repeated(order: np.ndarray, repeats: int) -> np.ndarray:
    """An epoch of the same length in which each position comes ``repeats`` times, n higher every time."""
    copy = np.arange(len(order)) % repeats * len(order)
    return np.repeat(order, repeats)[: len(order)] + copy


def share(keys: list[Key], rank: int, world: int) -> list[Key]:
    """One process's equal part of a batch: as much from its beginning as, mirrored, from its end.

    timm's mixup pairs the first with the last, the second with the last but one: so both of a pair are in one part,
    and there they are again each other's mirror image. An odd part has one from the middle.
    """
    half, odd = divmod(len(keys) // world, 2)
    first, last = rank * half, len(keys) - rank * half
    middle = world * half + rank
    return keys[first : first + half] + keys[middle : middle + odd] + keys[last - half : last]


class Images(Samples[Batch]):
    """A split as tensors; a replacement is of the same class."""

    def __init__(self, split: Split, mode: str, transform: Transform, seed: int, replace: bool = False) -> None:
        super().__init__(split, seed, replace)
        self.mode, self.transform = mode, transform

    def read(self, row: int) -> Image.Image:
        """The decoded image."""
        return self.split.source.image(row, self.mode)

    def sample(self, found: Image.Image) -> Tensor:
        """(C, H, W)."""
        return self.transform(found)

    def collate(self, samples: list[Tensor], rows: list[int], bad: tuple[Bad, ...]) -> Batch:
        """Images of one size, and their labels."""
        targets = torch.from_numpy(self.split.source.labels[rows])
        return Batch(torch.stack(samples) if samples else torch.empty(0), targets, torch.tensor(rows), bad)

    def alike(self, row: int) -> tuple[np.ndarray, str]:
        """Those of its class."""
        source, rows = self.split.source, self.split.rows
        label = source.labels[row]
        return rows[source.labels[rows] == label], f"of the class {source.classes[label]}"


def _calm_worker(_: int) -> None:
    """Ctrl-C and a job's SIGTERM reach the whole process group; workers leave the first to the training process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: signal.signal(number, signal.SIG_DFL))


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` in the main thread a second after ``seconds`` (0: never).

    The loader's own timeout covers the wait for the news of a batch, but not the fetching of its memory, which a worker
    that is stopped as a whole leaves unanswered for ever.
    """
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"a worker timed out after {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds + 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_worker_death(error: RuntimeError) -> bool:
    """Whether it is PyTorch's signal handler, which raises wherever the training process happens to be."""
    return type(error) is RuntimeError and "DataLoader worker" in str(error)


def told_before(error: RuntimeError) -> DataError | None:
    """What was already said of a worker's death that PyTorch's signal handler tells once more, on the way out."""
    earlier = error.__context__ if is_worker_death(error) else None
    while earlier is not None:
        if isinstance(earlier, DataError):
            return earlier
        earlier = earlier.__context__
    return None


def end_workers() -> None:
    """Kill the workers of this process, which is about to end: a hung one would keep it from doing so."""
    before = signal.getsignal(signal.SIGCHLD)
    with suppress(RuntimeError):  # a death that is told just now
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the loader's would take their end for an accident
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()
    signal.signal(signal.SIGCHLD, before)


class Feed:
    """Batches in the order of ``plan``, read by ``workers`` processes (0: by this one); failures are ``DataError``.

    ``bad`` is told of images that cannot be read, and decides how many are too many; without it, one is. ``pin`` puts
    batches where a copy to a GPU need not wait for them.
    """

    def __init__(
        self,
        images: Samples,
        plan: CountedBatches | list[list[Key]],
        workers: int,
        timeout: float,
        bad: BadFiles | None = None,
        pin: bool = False,
    ) -> None:
        self.images, self.plan, self.bad = images, plan, bad
        self.number = 0  # of the batch that was asked for last
        self.loader = DataLoader(
            images,
            batch_sampler=plan,
            collate_fn=_already_a_batch,
            num_workers=workers,
            timeout=timeout if workers else 0,
            worker_init_fn=_calm_worker,
            persistent_workers=workers > 0,
            pin_memory=pin,
            # its own: otherwise starting to read draws from the global one, and a resumed run starts at another step
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[Batch]:
        batches, timeout = iter(self.loader), self.loader.timeout
        for number, _ in enumerate(self.plan):
            self.number = number
            try:
                with _alarm(timeout):
                    batch = next(batches)
            except ValueError as error:  # from decode; a worker's arrives with its whole traceback as the message
                raise DataError(str(error).strip().splitlines()[-1].removeprefix("ValueError: ")) from error
            except (RuntimeError, ConnectionError, TimeoutError, EOFError) as error:
                raise self.failure(error) from error
            if batch.bad:
                if self.bad is None:
                    raise DataError(": ".join(batch.bad[0]))
                self.bad.add(batch.bad)
            yield batch

    def failure(self, error: Exception) -> DataError:
        """What to say of workers that died or hang: the images that may be being read, two batches a worker."""
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        return DataError(
            f"reading failed ({reason}) at one of {self.images.named(self._in_flight())}; try --data.workers 0, and if "
            "it hung, a larger --data.worker_timeout"
        )

    def _in_flight(self) -> Iterator[int]:
        ahead = islice(self.plan, self.number, self.number + max(1, 2 * self.loader.num_workers))
        return (self.images.row(position) for keys in ahead for _, position in keys)


def in_order(count: int, batch_size: int, rank: int = 0, world: int = 1) -> list[list[Key]]:
    """One process's batches of an evaluation: over all processes everything once, and as many batches on each.

    ``batch_size`` is that of all processes together. ``ValueError`` for fewer images than processes.
    """
    if world == 1:
        return [[(0, i) for i in range(start, min(start + batch_size, count))] for start in range(0, count, batch_size)]
    if count < world:
        raise ValueError(f"{count} images are too few for {world} processes to evaluate; start at most {count}")
    rounds = min(-(-count // batch_size), count // world)  # the second, so that no part is empty
    parts = np.array_split(np.arange(count), rounds * world)
    return [[(0, int(i)) for i in part] for part in parts[rank::world]]


def _already_a_batch(batch: Any) -> Any:
    return batch
