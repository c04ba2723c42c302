"""Bootstrap: how far a score would move on another draw of as many pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shiftless.errors import BadInput


class Difference(NamedTuple):
    """A paired difference and its percentile interval."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def interval(
    counts: ArrayLike,
    totals: ArrayLike | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval (low, high) of sum(counts) / sum(totals) over K pairs.

    counts  K, what each pair contributes (hits, or a score of its own)
    totals  K, how much each pair weighs (its points); left out, every pair weighs one: a mean over pairs
    draws   resamples of K pairs with replacement, drawn from `seed`

    Raises BadInput if lengths differ or there are no pairs. Source: Efron, "Bootstrap methods", 1979.

    >>> low, high = interval([1, 0, 1, 1] * 25)
    >>> 0.65 < low < 0.75 < high < 0.85
    True
    """
    counts, totals = _pairs(counts, totals)
    ratios = _resampled(np.stack([counts]), np.stack([totals]), draws, seed)[0]
    return _percentiles(ratios, level)


def difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    totals: ArrayLike | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Return score(ours) - score(theirs) with its interval, both resampled on the same K pairs.

    Pairing cancels what makes a pair easy or hard for both; arguments and errors as in `interval`.

    >>> difference([3, 2, 4, 3], [2, 1, 3, 2], [4, 4, 4, 4])
    Difference(value=0.25, low=0.25, high=0.25)
    """
    ours, weights = _pairs(ours, totals)
    theirs, _ = _pairs(theirs, totals)
    if len(ours) != len(theirs):
        raise BadInput(f"{len(ours)} pairs against {len(theirs)}: a paired difference needs the same pairs")
    ratios = _resampled(np.stack([ours, theirs]), np.stack([weights, weights]), draws, seed)
    low, high = _percentiles(ratios[0] - ratios[1], level)
    return Difference(float((ours.sum() - theirs.sum()) / weights.sum()), low, high)


def saving(before: ArrayLike, after: ArrayLike) -> Difference:
    """Return how much less `after` is than `before`, as a share of the mean of `before`, paired; 0 where that is 0.

    Arguments and errors as in `difference`.

    >>> saving([2, 4], [1, 2]).value
    0.5
    """
    whole = float(np.mean(np.asarray(before, dtype=np.float64)))
    return Difference(*(value / whole if whole else 0.0 for value in difference(before, after)))


def _resampled(counts: np.ndarray, totals: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Resample M scores over the same K pairs: M K counts and totals -> M draws ratios."""
    rng, size = np.random.default_rng(seed), counts.shape[1]
    ratios = np.empty((len(counts), draws))
    block = max(1, 4_000_000 // size)  # bounded memory, however many pairs
    for start in range(0, draws, block):
        stop = min(start + block, draws)
        index = rng.integers(0, size, (stop - start, size))
        for row, (count, total) in enumerate(zip(counts, totals)):
            ratios[row, start:stop] = count[index].sum(1) / total[index].sum(1)
    return ratios


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def _pairs(counts: ArrayLike, totals: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    counts = np.asarray(counts, dtype=np.float64).ravel()
    weights = np.ones_like(counts) if totals is None else np.asarray(totals, dtype=np.float64).ravel()
    if len(counts) == 0 or len(counts) != len(weights):
        raise BadInput(f"{len(counts)} counts and {len(weights)} totals: give one of each for every pair, at least one")
    if not (weights > 0).all():
        raise BadInput("totals: every pair needs at least one point")
    return counts, weights
