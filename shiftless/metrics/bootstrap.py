"""Intervals: how far a score would move on another draw of as many pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shiftless.errors import BadInput
from shiftless.metrics.dyadic import Photos, dyadic_interval, photos_shared


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
    photos: Photos | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval (low, high) of sum(counts) / sum(totals) over K pairs.

    counts  K, what each pair contributes (hits, or a score of its own)
    totals  K, how much each pair weighs (its points); left out, every pair weighs one: a mean over pairs
    photos  K, the two photos of each pair; left out, pairs are taken to share none
    draws   resamples of K pairs with replacement, drawn from `seed`

    Where no photo is in two pairs it is the percentile bootstrap over pairs (Efron, "Bootstrap methods", 1979).
    Otherwise pairs that share a photo are dependent, and it is `dyadic_interval`.

    Raises BadInput if lengths differ or there are no pairs.

    >>> low, high = interval([1, 0, 1, 1] * 25)
    >>> 0.65 < low < 0.75 < high < 0.85
    True
    """
    counts, totals = _pairs(counts, totals)
    if photos is not None and photos_shared(photos):
        return _dyadic(counts, totals, photos, level)
    ratios = _resampled(np.stack([counts]), np.stack([totals]), draws, seed)[0]
    return _percentiles(ratios, level)


def difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    totals: ArrayLike | None = None,
    *,
    photos: Photos | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Return score(ours) - score(theirs) with its interval, both taken on the same K pairs.

    Pairing cancels what makes a pair easy or hard for both; arguments and errors as in `interval`.

    >>> difference([3, 2, 4, 3], [2, 1, 3, 2], [4, 4, 4, 4])
    Difference(value=0.25, low=0.25, high=0.25)
    """
    ours, weights = _pairs(ours, totals)
    theirs, _ = _pairs(theirs, totals)
    if len(ours) != len(theirs):
        raise BadInput(f"{len(ours)} pairs against {len(theirs)}: a paired difference needs the same pairs")
    value = float((ours.sum() - theirs.sum()) / weights.sum())
    if photos is not None and photos_shared(photos):
        return Difference(value, *_dyadic(ours - theirs, weights, photos, level))
    ratios = _resampled(np.stack([ours, theirs]), np.stack([weights, weights]), draws, seed)
    return Difference(value, *_percentiles(ratios[0] - ratios[1], level))


def saving(before: ArrayLike, after: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Difference:
    """Return how much less `after` is than `before`, as a share of `before`: 1 - sum(after) / sum(before), paired.

    before, after  K numbers of the same K photos, 0 or more
    draws          resamples of K photos; each takes numerator and denominator from the same photos

    Where nothing was there before, nothing is saved: 0. Raises BadInput as `difference` does.

    >>> saving([2, 4], [1, 2])
    Difference(value=0.5, low=0.5, high=0.5)
    """
    before, _ = _pairs(before, None)
    after, _ = _pairs(after, None)
    if len(before) != len(after):
        raise BadInput(f"{len(before)} photos against {len(after)}: a saving needs the same photos")
    sums = _resampled_sums(np.stack([before - after, before]), draws, seed)
    shares = np.divide(sums[0], sums[1], out=np.zeros_like(sums[0]), where=sums[1] > 0)
    whole = float(before.sum())
    return Difference(float((before - after).sum()) / whole if whole else 0.0, *_percentiles(shares, level))


def _dyadic(counts: np.ndarray, totals: np.ndarray, photos: Photos, level: float) -> tuple[float, float]:
    """The interval of sum(counts) / sum(totals), a ratio whose error is linearised, over pairs that share photos."""
    value, shares = float(counts.sum() / totals.sum()), counts / totals
    residuals = (counts - value * totals) / totals.sum()
    return dyadic_interval(value, residuals, photos, (float(shares.min()), float(shares.max())), level)


def _resampled(counts: np.ndarray, totals: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Resample M scores over the same K pairs: M K counts and totals -> M draws ratios."""
    sums = _resampled_sums(np.concatenate([counts, totals]), draws, seed)
    return np.asarray(sums[: len(counts)] / sums[len(counts) :])


def _resampled_sums(rows: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Resample M sums over the same K pairs: M K -> M draws."""
    rng, size = np.random.default_rng(seed), rows.shape[1]
    sums = np.empty((len(rows), draws))
    block = max(1, 4_000_000 // size)  # bounded memory, however many pairs
    for start in range(0, draws, block):
        stop = min(start + block, draws)
        index = rng.integers(0, size, (stop - start, size))
        for row, values in enumerate(rows):
            sums[row, start:stop] = values[index].sum(1)
    return sums


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
