"""Rank correlation: whether one number predicts the order of another, within groups, with its interval."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

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
    return float(_of_weights(a, b, _numbered(labels), np.ones((1, len(a))))[0])


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

    >>> correlation = spearman_interval(range(30), [i + i % 3 for i in range(30)])
    >>> correlation.low > 0.9, correlation.high <= 1
    (True, True)
    """
    value = spearman(x, y, groups)
    a, b = np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    labels = _numbered([0] * len(a) if groups is None else groups)
    own = _numbered(range(len(a)) if clusters is None else clusters)
    rng, count = np.random.default_rng(seed), int(own.max()) + 1
    index = rng.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
    drawn = np.bincount(index.ravel(), minlength=draws * count).reshape(draws, count)  # how often each was drawn
    correlation = _of_weights(a, b, labels, drawn[:, own].astype(np.float64))
    low, high = np.percentile(correlation, [50 * (1 - level), 50 * (1 + level)])
    return Difference(value, float(low), float(high))


def _of_weights(a: np.ndarray, b: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The correlation of ranks within groups for each row of weights D N: how often each number was drawn."""
    together = groups[:, None] == groups[None]
    middle = weights @ together / 2
    ranks = []
    for values in (a, b):
        below = together * ((values[None] < values[:, None]) + 0.5 * (values[None] == values[:, None]))
        ranks.append(weights @ below.T - middle)
    first, second = ranks
    scale = np.sqrt((weights * first**2).sum(1) * (weights * second**2).sum(1))
    products = (weights * first * second).sum(1)
    return np.asarray(np.round(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0), 12))


def _numbered(labels: Iterable[Hashable]) -> np.ndarray:
    """Each label as a number, in the order of first use."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels])
