"""Windows: photos a few at a time, as many as fit the minutes allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Any


class Windows:
    """Photos in windows of at most `batch`, until the next photo would not fit by the pace so far.

    minutes   how long all of them may take; None is without a limit
    left_out  after the last window: how many photos of a list were not reached; 0 for what has no length

    With a limit the first window is one photo, which is always given, so that the pace is soon known.

    >>> list(Windows(["a", "b", "c"], batch=2)), list(Windows(["a", "b", "c"], batch=2, minutes=0.0))
    ([['a', 'b'], ['c']], [['a']])
    """

    def __init__(
        self,
        photos: Iterable[Any],
        batch: int,
        minutes: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.photos, self.batch, self.minutes, self.clock = photos, batch, minutes, clock
        self.left_out = 0

    def __iter__(self) -> Iterator[list[Any]]:
        source, start, done = iter(self.photos), self.clock(), 0
        while window := list(islice(source, self._room(self.clock() - start, done))):
            yield window
            done += len(window)
        if isinstance(self.photos, Sized):
            self.left_out = len(self.photos) - done

    def _room(self, spent: float, done: int) -> int:
        """How many photos the next window holds."""
        if self.minutes is None:
            return self.batch
        if not done:
            return 1
        left = 60 * self.minutes - spent
        return max(0, min(self.batch, int(left * done / spent) if spent else self.batch))
