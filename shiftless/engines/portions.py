"""Portions: the photos of a run in pieces that workers are given, the same pieces however many workers there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from shiftless.reading.loop import WINDOW_END

_WINDOWS = 8  # batches in a portion, at most: between two portions a worker's threads have nothing to open
_PORTIONS = 64  # of a run, where it has as many batches


def portion_size(photos: int, batch: int) -> int:
    """Return how many photos a portion has: whole batches, from 1 to 8 of them, so that many workers have work.

    It depends on the run alone. Where a batch ends decides how a model's sums are rounded: one process ends its batches
    where portions end too, and so reads the same numbers as any number of workers.

    >>> portion_size(1_000_000, 16), portion_size(100, 16)
    (128, 16)
    """
    return batch * max(1, min(_WINDOWS, photos // (batch * _PORTIONS)))


def portions(photos: Sequence[Any], batch: int) -> list[list[str]]:
    """Cut a list of photos into portions.

    >>> portions(["a", "b", "c"], 2)
    [['a', 'b'], ['c']]
    """
    size = portion_size(len(photos), batch)
    return [[str(photo) for photo in photos[first : first + size]] for first in range(0, len(photos), size)]


def with_ends(photos: Iterable[Any], batch: int, count: int) -> Iterator[Any]:
    """Yield photos, `count` in all, and where a portion ends what ends a batch too.

    >>> [one if isinstance(one, str) else "end" for one in with_ends("abc", 2, 3)]
    ['a', 'b', 'end', 'c', 'end']
    """
    size = portion_size(count, batch)
    for number, photo in enumerate(photos, 1):
        yield photo
        if number % size == 0 or number == count:
            yield WINDOW_END
