"""Rank correlation: whether one number predicts the order of another, within groups, with its interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import Difference


def spearman(x: ArrayLike, y: ArrayLike, groups: Sequence[Hashable] | None = None) -> float:
    """Return Spearman's rank correlation of two rows of N numbers, in [-1, 1]; 0 where nothing varies.

    groups  N, what must not count: numbers are ranked within their group only, and each group's ranks are taken
            from its middle rank, so that no group's being higher than another is taken for a correlation

    Equal numbers share the mean of their ranks (Spearman 1904); without groups it is the usual coefficient.
    Raises BadInput if the rows differ in length or hold fewer than two numbers.

    >>> spearman([1, 2, 3, 4], [10, 20, 40, 30])
    0.8
    >>> spearman([1, 2, 11, 12], [5, 4, 9, 8], groups="aabb")
    -1.0
    """
    a, b = np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    if len(a) != len(b) or len(a) < 2:
        raise BadInput(f"{len(a)} numbers against {len(b)}: give as many of each, at least two")
    labels = [0] * len(a) if groups is None else list(groups)
    if len(labels) != len(a):
        raise BadInput(f"{len(labels)} groups for {len(a)} numbers: give one for each")
    return _of_ranks(a, b, labels)


def spearman_interval(
    x: ArrayLike,
    y: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Return `spearman` with its percentile bootstrap interval: (value, low, high).

    clusters  N, numbers that belong together and are drawn together (each its own): the same thing measured twice

    >>> found = spearman_interval(range(30), [i + i % 3 for i in range(30)])
    >>> found.low > 0.9, found.high <= 1
    (True, True)
    """
    value = spearman(x, y, groups)
    a, b = np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    labels = [0] * len(a) if groups is None else list(groups)
    own = list(range(len(a))) if clusters is None else list(clusters)
    members: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(own):
        members.setdefault(cluster, []).append(i)
    sets, rng = [np.array(rows) for rows in members.values()], np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        rows = np.concatenate([sets[i] for i in rng.integers(0, len(sets), len(sets))])
        found.append(_of_ranks(a[rows], b[rows], [labels[i] for i in rows]))
    low, high = np.percentile(found, [50 * (1 - level), 50 * (1 + level)])
    return Difference(value, float(low), float(high))


def _of_ranks(a: np.ndarray, b: np.ndarray, groups: Sequence[Hashable]) -> float:
    from scipy.stats import rankdata

    first, second = np.zeros(len(a)), np.zeros(len(a))
    rows: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        rows.setdefault(group, []).append(i)
    for index in rows.values():
        first[index] = rankdata(a[index]) - (len(index) + 1) / 2
        second[index] = rankdata(b[index]) - (len(index) + 1) / 2
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return round(float((first * second).sum() / scale), 12) if scale else 0.0
