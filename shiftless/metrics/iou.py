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
    right = counts.diagonal().astype(np.float64)
    either = counts.sum(0) + counts.sum(1) - right
    return np.divide(right, either, out=np.full(len(right), np.nan), where=either > 0)
