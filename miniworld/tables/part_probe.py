"""A linear probe of parts: ridge regression from features to the parts of a few labelled pictures, scored by mIoU."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.features import FeatureMaps
from shiftless.metrics.iou import confusion, ious

_RIDGE = 1e-2  # of the mean variance of a channel, whatever the features' scale


class PartProbe:
    """Learns from some pictures, then scores others; one pass over each, nothing kept but sums.

    >>> probe = PartProbe(labels=2)
    >>> slope = torch.linspace(-1, 1, 8).expand(1, 1, 8, 8)
    >>> parts = (np.linspace(-1, 1, 16) > 0).astype(np.uint8)[None].repeat(16, 0)
    >>> probe.learn(slope, parts)
    >>> probe.score(slope, parts)
    >>> probe.miou() > 0.9
    True
    """

    def __init__(self, labels: int) -> None:
        self.labels = labels
        self._inner: torch.Tensor | None = None
        self._outer: torch.Tensor | None = None
        self._weights: torch.Tensor | None = None
        self._counts = np.zeros((2, labels, labels), np.int64)

    def learn(self, features: FeatureMaps | torch.Tensor, parts: np.ndarray) -> None:
        """Take in one picture: features 1 C h w and its labels H W; a cell's target is the share of each label."""
        rows, grid = _rows(features)
        truth = F.one_hot(torch.from_numpy(parts.astype(np.int64)), self.labels).permute(2, 0, 1)[None].double()
        targets = F.adaptive_avg_pool2d(truth, grid)[0].flatten(1).T
        inner, outer = rows.T @ rows, rows.T @ targets
        self._inner = inner if self._inner is None else self._inner + inner
        self._outer = outer if self._outer is None else self._outer + outer
        self._weights = None

    def score(self, features: FeatureMaps | torch.Tensor, parts: np.ndarray, half: int = 0) -> None:
        """Label one picture that was not learned from, enlarged bilinearly to H W, and count it in half 0 or 1."""
        if self._weights is None:
            assert self._inner is not None
            assert self._outer is not None
            ridge = _RIDGE * self._inner.diagonal().mean() * torch.eye(len(self._inner), dtype=torch.float64)
            self._weights = torch.linalg.solve(self._inner + ridge, self._outer)
        rows, (h, w) = _rows(features)
        scores = (rows @ self._weights).T.reshape(1, self.labels, h, w)
        predicted = F.interpolate(scores, parts.shape, mode="bilinear")[0].argmax(0).numpy()
        self._counts[half] += confusion(parts, predicted, self.labels)

    def miou(self, half: int | None = None) -> float:
        """Return the mean IoU over labels that were there or found (Everingham et al. 2010), pooled over pictures.

        half  of this half of the pictures only
        """
        counts = self._counts.sum(0) if half is None else self._counts[half]
        return float(np.nanmean(ious(counts))) if counts.any() else float("nan")


def _rows(features: FeatureMaps | torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
    """Cells as rows of unit vectors with a constant, float64 on the CPU, and their grid."""
    dense = features.float() if isinstance(features, torch.Tensor) else features.dense()
    rows = dense[0].cpu().flatten(1).T.double()
    return torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], 1), (dense.shape[-2], dense.shape[-1])
