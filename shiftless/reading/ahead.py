"""Ahead: threads that work on the next items while the last ones are in use."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST = 8  # threads; decoding a photo takes some 10 ms, so that these open hundreds a second


class Ahead:
    """Threads that do work on items before its results are asked for, and hand these over in the items' order.

    threads  how many; 0 does the work when its result is asked for, in the thread that asks

    Pillow, hashlib and NumPy let go of Python's lock while they decode, resize, digest and draw noise, so that threads
    use as many cores, and nothing has to be copied between processes.

    >>> with Ahead(2) as ahead:
    ...     list(ahead.map(str.upper, ["a", "b", "c"], most=2))
    ['A', 'B', 'C']
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "shiftless-ahead") if threads else None

    def map(self, work: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[Result]:
        """Yield the result for each item, in order; an error of the work is raised in its place.

        most  how many results may be ready or in the making beyond the one that was asked for, which bounds memory

        Items are taken from the iterable in the thread that asks.
        """
        if self._pool is None:
            yield from map(work, items)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(work, item))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def default_threads() -> int:
    """Return how many threads open photos unless the caller says: one for each core of this process, at most 8.

    >>> 1 <= default_threads() <= 8
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST, cores))
