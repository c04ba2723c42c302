"""Scores over several random splits of one pool of photos: mean, spread, and intervals that resample both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import Difference
from shiftless.metrics.segmentation import Confusion, mean_iou

Split = Mapping[int, Confusion]
"""The counts of a split's test photos, by each photo's number in the pool."""


Score = Callable[[np.ndarray], np.ndarray]
"""A score of totals ... 3 L, as `Confusion.totals` gives them."""


def split_scores(splits: Sequence[Split], score: Score = mean_iou) -> np.ndarray:
    """Return the mIoU, or another score, of each of S splits, float64 in [0, 1].

    >>> right, wrong = (Confusion(2).add(np.array([[0, 1]]), np.array([[0, found]])) for found in (1, 0))
    >>> split_scores([{0: right}, {1: wrong}]).tolist()
    [1.0, 0.25]
    """
    return np.array([float(score(rows.sum(0))) for rows in map(_rows, splits)])


def split_interval(
    splits: Sequence[Split], *, score: Score = mean_iou, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the interval of the mean mIoU, or of another score's mean, over splits; see `split_difference`."""
    low, high = np.percentile(_resampled([splits], draws, seed, score)[0], _ends(level))
    return float(low), float(high)


def split_difference(
    ours: Sequence[Split], theirs: Sequence[Split], *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Difference:
    """Return mean mIoU(ours) - mean mIoU(theirs) over the same splits, with its interval.

    Splits of one pool share photos, so they are no independent repetitions: each draw resamples the photos of the pool
    and the splits together, both with replacement, and takes both methods on the same draw
    (Efron, "Bootstrap methods", 1979, with both factors resampled as in Owen, "The pigeonhole bootstrap", 2007).

    Raises BadInput unless both have the same splits of the same photos.

    >>> right, wrong = (Confusion(2).add(np.array([[0, 1]]), np.array([[0, found]])) for found in (1, 0))
    >>> split_difference([{0: right, 1: right}], [{0: wrong, 1: wrong}])
    Difference(value=0.75, low=0.75, high=0.75)
    """
    if [sorted(one) for one in ours] != [sorted(one) for one in theirs]:
        raise BadInput("a paired difference needs the same splits of the same photos")
    mine, other = _resampled([ours, theirs], draws, seed)
    low, high = np.percentile(mine - other, _ends(level))
    return Difference(float(split_scores(ours).mean() - split_scores(theirs).mean()), float(low), float(high))


def _resampled(methods: Sequence[Sequence[Split]], draws: int, seed: int, score: Score = mean_iou) -> list[np.ndarray]:
    """Mean score of each draw, for each method: the draws are shared."""
    if not methods[0] or not all(methods[0]):
        raise BadInput("no photos: an interval needs at least one split with a test photo")
    pool = sorted({photo for split in methods[0] for photo in split})
    place = {photo: i for i, photo in enumerate(pool)}
    rng = np.random.default_rng(seed)
    photos = rng.multinomial(len(pool), np.full(len(pool), 1 / len(pool)), draws)
    splits = rng.multinomial(len(methods[0]), np.full(len(methods[0]), 1 / len(methods[0])), draws)
    results = []
    for method in methods:
        scores = np.empty((draws, len(method)))
        for s, split in enumerate(method):
            times = photos[:, [place[photo] for photo in sorted(split)]]
            scores[:, s] = score(np.tensordot(times, _rows(split), 1))
        weights = splits * np.isfinite(scores)
        total = np.where(weights > 0, scores * weights, 0.0).sum(1)
        count = weights.sum(1)
        mean = np.divide(total, count, out=np.full(draws, np.nan), where=count > 0)
        results.append(np.where(np.isfinite(mean), mean, np.nanmean(mean)))
    return results


def _rows(split: Split) -> np.ndarray:
    return np.stack([split[photo].totals() for photo in sorted(split)])


def _ends(level: float) -> tuple[float, float]:
    return 50 * (1 - level), 50 * (1 + level)
