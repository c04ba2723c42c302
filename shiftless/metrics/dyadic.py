"""Standard errors of scores over pairs of photos, where a photo may be in several pairs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from shiftless.errors import BadInput

Photos = Sequence[tuple[Hashable, Hashable]]
"""The two photos of each of K pairs, by what tells photos apart; both the same for a photo matched with itself."""


def photos_shared(photos: Photos) -> bool:
    """Whether a photo is in two of K pairs, so that pairs are not independent of each other.

    >>> photos_shared([("a", "b"), ("c", "d")]), photos_shared([("a", "b"), ("b", "a")])
    (False, True)
    """
    used = [photo for pair in photos for photo in set(pair)]
    return len(set(used)) < len(used)


def photo_count(photos: Photos) -> int:
    """Return how many different photos K pairs have.

    >>> photo_count([("a", "b"), ("b", "c")])
    3
    """
    return len({photo for pair in photos for photo in pair})


def dyadic_error(residuals: np.ndarray, photos: Photos) -> float:
    """Return the standard error of a sum over K pairs whose terms are dependent wherever pairs share a photo.

    residuals  K, each pair's contribution to the sum, less its expectation

    The variance is the sum of products over all pairs of pairs that have a photo in common: the dyadic
    cluster-robust estimator (Fafchamps and Gubert, "The formation of risk sharing networks", 2007; Aronow, Samii and
    Assenova, "Cluster-robust variance estimation for dyadic data", 2015), times G / (G - 1) for G photos. It is not
    taken to be smaller than that of independent pairs. Multiplying bootstrap multiplicities of both photos (Owen and
    Eckles 2012) instead would count what is a pair's own up to three times.

    Raises BadInput unless there are two photos for every pair.

    >>> dyadic_error(np.array([1.0, -1.0]), [("a", "b"), ("c", "d")]) ** 2 * 3 / 4
    2.0
    """
    if len(photos) != len(residuals):
        raise BadInput(f"{len(residuals)} pairs with the photos of {len(photos)}: give the two photos of every pair")
    numbers: dict[Hashable, int] = {}
    ends = np.array([[numbers.setdefault(photo, len(numbers)) for photo in pair] for pair in photos])
    first, second, count = ends[:, 0], ends[:, 1], len(numbers)
    other = first != second
    by_photo = np.bincount(first, residuals, count) + np.bincount(second[other], residuals[other], count)
    # Pairs of the same two photos (and the way back) were counted at both of them.
    same = np.unique(ends[other].min(1) * count + ends[other].max(1), return_inverse=True)[1]
    by_both = np.bincount(same, residuals[other])
    variance = (by_photo**2).sum() - (by_both**2).sum()
    variance = max(float(variance), float((residuals**2).sum()))
    return float(np.sqrt(variance * count / max(1, count - 1)))


def dyadic_interval(
    value: float, residuals: np.ndarray, photos: Photos, bounds: tuple[float, float], level: float = 0.95
) -> tuple[float, float]:
    """Return the interval (low, high) of a value with `dyadic_error`, by Student's t with G - 1 degrees of freedom.

    bounds  the least and the greatest value that any choice of these pairs could give; the interval stays inside

    >>> low, high = dyadic_interval(0.5, np.array([0.1, -0.1, 0.0]), [("a", "b"), ("b", "c"), ("c", "d")], (0, 1))
    >>> low < 0.5 < high <= 1
    True
    """
    from scipy.special import stdtrit

    reach = float(stdtrit(max(1, photo_count(photos) - 1), (1 + level) / 2)) * dyadic_error(residuals, photos)
    low, high = bounds
    return max(float(low), value - reach), min(float(high), value + reach)
