"""Work done by threads ahead of the one who takes it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int, window: int) -> Iterator[Result]:
    """``map`` in order, by threads, with at most ``window`` items begun and not yet taken.

    Whoever takes no more, or fails, does not wait for what is being done, which may be a slow download.
    """
    pool, pending = ThreadPoolExecutor(workers, "decode"), deque[Future[Result]]()
    try:
        for item in items:
            if len(pending) == window:
                yield pending.popleft().result()
            pending.append(pool.submit(function, item))
        while pending:
            yield pending.popleft().result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
