"""PCK: the percentage of correct keypoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from shiftless.errors import BadInput

# A point exactly on the threshold counts. The last bits of alpha * side and of a square root must not
# decide it, so the threshold gets a hair that is far below any distance in pixels that means something.
_HAIR = 1e-9


def hits(predicted: ArrayLike, target: ArrayLike, size: Sequence[float], alpha: float = 0.1) -> np.ndarray:
    """Say for each of N points whether it lies within alpha x the longer side of its target: N bool.

    predicted  N 2 (x, y), pixels
    target     N 2, pixels of the same image
    size       (h, w) of the target image, or a box (x0, y0, x1, y1) in it
    alpha      share of the longer side; a distance of exactly that much is a hit

    Raises BadInput if shapes differ, values are not finite, or the size is not positive.
    Source: Yang & Ramanan, "Articulated human detection", 2013; thresholds as in SPair-71k.

    >>> hits([(50, 50), (61, 50)], [(40, 50), (50, 50)], size=(100, 80)).tolist()
    [True, False]
    """
    predicted, target = _points("predicted", predicted), _points("target", target)
    if predicted.shape != target.shape:
        raise BadInput(f"predicted has {len(predicted)} points and target {len(target)}; give one for each")
    if not alpha > 0:
        raise BadInput(f"alpha={alpha!r}: give a share of the longer side above 0, such as 0.1")
    distance = np.hypot(*(predicted - target).T)
    return np.asarray(distance <= alpha * longer_side(size) * (1 + _HAIR))


def longer_side(size: Sequence[float]) -> float:
    """Return the longer side of an image (h, w) or of a box (x0, y0, x1, y1), in pixels.

    >>> longer_side((10, 20, 110, 70))
    100.0
    """
    values = [float(v) for v in size]
    if len(values) == 4:
        values = [values[2] - values[0], values[3] - values[1]]
    if len(values) != 2 or not np.isfinite(values).all() or max(values) <= 0 or min(values) < 0:
        raise BadInput(f"size={tuple(size)!r}: give an image's (h, w) or a box (x0, y0, x1, y1) with x1 > x0, y1 > y0")
    return max(values)


def pck(predicted: ArrayLike, target: ArrayLike, size: Sequence[float], alpha: float = 0.1) -> float:
    """Return the share of N points that are hits, in [0, 1]; arguments and errors as in `hits`.

    >>> pck([(50, 50), (61, 50)], [(40, 50), (50, 50)], size=(100, 80))
    0.5
    """
    return float(hits(predicted, target, size, alpha).mean())


def pooled(counts: ArrayLike, totals: ArrayLike) -> float:
    """Return all hits over all points, so that a pair weighs as much as it has points.

    >>> pooled([1, 8], [2, 8])
    0.9
    """
    counts, totals = np.asarray(counts, float), np.asarray(totals, float)
    return float(counts.sum() / totals.sum())


def per_image(counts: ArrayLike, totals: ArrayLike) -> float:
    """Return the mean over pairs of each pair's share, so that every pair weighs the same.

    >>> per_image([1, 8], [2, 8])
    0.75
    """
    return float((np.asarray(counts, float) / np.asarray(totals, float)).mean())


def _points(name: str, points: ArrayLike) -> np.ndarray:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        raise BadInput(f"{name}: points must be N x 2 (x, y) with N >= 1, not of shape {array.shape}")
    if not np.isfinite(array).all():
        raise BadInput(f"{name}: point {int(np.argmin(np.isfinite(array).all(1)))} is not finite; give numbers")
    return array
