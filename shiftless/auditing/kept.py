"""Kept: the few photos of an audit that are shown, however many there are."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from shiftless.auditing.measures import HEADLINE
from shiftless.auditing.seen import Seen


class Kept:
    """Keeps the photos that shifted most by the headline, at most `most` of them, and lets go of the others.

    >>> import numpy as np
    >>> kept = Kept(1)
    >>> empty = np.zeros((8, 8, 3), np.uint8)
    >>> for name, shift in (("a", 0.1), ("b", 0.3), ("c", 0.2)):
    ...     kept(Seen(name, empty, empty, [], [], [], {HEADLINE: np.array([shift])}, {}))
    >>> [seen.name for seen in kept]
    ['b']
    """

    def __init__(self, most: int, headline: str = HEADLINE) -> None:
        self.most, self.headline = most, headline
        self._heap: list[tuple[float, int, Seen]] = []
        self._count = 0

    def __call__(self, seen: Seen) -> None:
        """Take in what was seen of a photo."""
        self._count += 1
        if self.most:
            entry = (float(seen.scores[self.headline].mean()), -self._count, seen)
            (heapq.heappush if len(self._heap) < self.most else heapq.heappushpop)(self._heap, entry)

    def __iter__(self) -> Iterator[Seen]:
        """Yield them, the largest shift first."""
        return (seen for _, _, seen in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))

    def __len__(self) -> int:
        return len(self._heap)
