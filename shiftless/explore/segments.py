"""Segments of photos without names: features parted by k-means or by normalised cuts, each in its mean colour."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from shiftless.tasks.cuts import affinities, normalised_cuts

MOST, CELLS = 24, 32
"""The most segments of a photo by cuts, and cells along the longer side of the grid that is cut: DiffCut's."""


def clustered(maps: Sequence[torch.Tensor], pictures: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """Part the cells of all maps together into segments by k-means of their unit vectors, each in its mean colour.

    maps      1 C H W each        pictures  H W 3 uint8 each, the colours of the cells

    The same maps give the same segments. Source: Arthur & Vassilvitskii, "k-means++", 2007, as OpenCV has it.

    >>> steps = torch.eye(2).repeat_interleave(3, 1)[None, :, None]  # six cells: three of one kind, three of another
    >>> colours = np.array([[[0] * 3, [6] * 3, [3] * 3, [90] * 3, [90] * 3, [93] * 3]], np.uint8)
    >>> clustered([steps], [colours], 2)[0][0, :, 0].tolist()
    [3, 3, 3, 91, 91, 91]
    """
    vectors = torch.cat([F.normalize(one[0].float().cpu().flatten(1).T, dim=1) for one in maps]).numpy()
    colours = np.concatenate([picture.reshape(-1, 3) for picture in pictures]).astype(np.float64)
    count = min(count, len(vectors))
    cv2.setRNGSeed(0)
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    start = np.zeros((len(vectors), 1), np.int32)
    _, labels, _ = cv2.kmeans(vectors, count, start, until, 3, cv2.KMEANS_PP_CENTERS)
    drawn = _in_mean_colours(labels.ravel(), colours)
    ends = np.cumsum([picture.shape[0] * picture.shape[1] for picture in pictures])[:-1]
    return [part.reshape(picture.shape) for part, picture in zip(np.split(drawn, ends), pictures)]


def cut(features: torch.Tensor, picture: np.ndarray) -> np.ndarray:
    """Part the cells of one photo's map by recursive normalised cuts: H W 3 uint8, each segment in its mean colour.

    features  1 C H W; a finer grid than `CELLS` is averaged down to it first
    picture   H W 3 uint8, the colours of the cells

    Source: Couairon et al., NeurIPS 2024 (DiffCut).

    >>> steps = torch.eye(2).repeat_interleave(3, 1)[None, :, None]  # six cells: three of one kind, three of another
    >>> colours = np.array([[[0] * 3, [6] * 3, [3] * 3, [90] * 3, [90] * 3, [93] * 3]], np.uint8)
    >>> cut(steps, colours)[0, :, 0].tolist()
    [3, 3, 3, 91, 91, 91]
    """
    h, w = features.shape[-2:]
    scale = min(1.0, CELLS / max(h, w))
    grid = max(1, round(h * scale)), max(1, round(w * scale))
    coarse = F.adaptive_avg_pool2d(features.float().cpu(), grid)[0]
    labels = normalised_cuts(affinities(coarse), most=MOST).view(1, 1, *grid).float()
    fine = F.interpolate(labels, (h, w), mode="nearest").numpy().astype(np.int64).ravel()
    return _in_mean_colours(fine, picture.reshape(-1, 3).astype(np.float64)).reshape(picture.shape)


def _in_mean_colours(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Give every cell the mean colour of its segment: N, and N 3 -> N 3 uint8."""
    count = int(labels.max()) + 1
    means = [colours[labels == k].mean(0) if (labels == k).any() else np.zeros(3) for k in range(count)]
    return np.stack(means).round().astype(np.uint8)[labels]
