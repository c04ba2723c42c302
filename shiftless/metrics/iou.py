"""Intersection over union of label maps, from counts that can be summed over pictures."""

from __future__ import annotations

import numpy as np


def confusion(truth: np.ndarray, predicted: np.ndarray, labels: int) -> np.ndarray:
    """Count pixels by what they are and what they were taken for: label maps of one shape -> L L int64.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    pair = truth.astype(np.int64).ravel() * labels + predicted.ravel()
    return np.bincount(pair, minlength=labels**2).reshape(labels, labels)


def ious(counts: np.ndarray) -> np.ndarray:
    """Return each label's IoU from its counts L L (Everingham et al. 2010); NaN for what was neither there nor found.

    >>> ious(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])).tolist()
    [0.5, 0.5, nan]
    """
    return ious_of_totals(np.stack([counts.diagonal(), counts.sum(1), counts.sum(0)]))


def ious_of_totals(totals: np.ndarray) -> np.ndarray:
    """Return each label's IoU from pixels right, there and found: ... 3 L -> ... L float64, NaN as in `ious`.

    >>> ious_of_totals(np.array([[1, 1, 0], [2, 1, 0], [1, 2, 0]])).tolist()
    [0.5, 0.5, nan]
    """
    right, there, found = np.moveaxis(totals.astype(np.float64), -2, 0)
    either = there + found - right
    return np.divide(right, either, out=np.full_like(right, np.nan), where=either > 0)
