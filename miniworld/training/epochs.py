"""Shuffled epochs: which examples a batch shows, a function of the seed and the step alone."""

from __future__ import annotations

import numpy as np


class Epochs:
    """The order in which `count` examples come, epoch after epoch; `stream` keeps it apart from other draws.

    >>> epochs = Epochs(4, stream=2)
    >>> first, second = (epochs.rows(2, seed=0, step=step) for step in (0, 1))
    >>> sorted(first + second), epochs.rows(2, 0, 0) == first
    ([0, 1, 2, 3], True)
    """

    def __init__(self, count: int, stream: int) -> None:
        self.count, self.stream = count, stream
        self._kept: tuple[tuple[int, int], np.ndarray] | None = None  # replaced as one: batches come from a thread

    def rows(self, size: int, seed: int, step: int) -> list[int]:
        """Say which examples the batch of one step shows: B indices."""
        return [int(self._of(seed, i // self.count)[i % self.count]) for i in range(step * size, (step + 1) * size)]

    def _of(self, seed: int, epoch: int) -> np.ndarray:
        kept = self._kept
        if kept is None or kept[0] != (seed, epoch):
            kept = (seed, epoch), np.random.default_rng([seed, self.stream, epoch]).permutation(self.count)
            self._kept = kept
        return kept[1]
