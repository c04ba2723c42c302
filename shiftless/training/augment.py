"""Augmentation: random scale, crop and flip of a photo together with its mask."""

from __future__ import annotations

import cv2
import numpy as np

from shiftless.metrics.segmentation import IGNORE

SCALES = (0.5, 2.0)
_GREY = (124, 116, 104)
"""What lies around a photo that is smaller than the crop: ImageNet's mean."""


def augmented(
    photo: np.ndarray,
    mask: np.ndarray,
    side: int,
    rng: np.random.Generator,
    *,
    scales: tuple[float, float] = SCALES,
    flip: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random square view of a photo H W 3 and its mask H W: side side 3 uint8 and side side uint8.

    side    pixels
    scales  the photo's longer side becomes `side` times a factor between these, drawn evenly on a logarithmic scale
    flip    mirror half of the views; leave it off for classes that tell left from right

    Where the photo is smaller than the view, it lies anywhere in it; around it is grey, labelled IGNORE. Masks take the
    nearest pixel, so that no class arises that was not there.

    >>> photo, mask = np.zeros((20, 40, 3), np.uint8), np.ones((20, 40), np.uint8)
    >>> view, labels = augmented(photo, mask, 32, np.random.default_rng(0))
    >>> view.shape, np.unique(labels).tolist()
    ((32, 32, 3), [1, 255])
    """
    h, w = mask.shape
    factor = side / max(h, w) * np.exp(rng.uniform(*np.log(scales)))
    size = max(1, round(w * factor)), max(1, round(h * factor))
    shown = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    labels = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
    view = np.full((side, side, 3), _GREY, np.uint8)
    target = np.full((side, side), IGNORE, np.uint8)
    (to_y, from_y), (to_x, from_x) = (_overlap(length, side, rng) for length in labels.shape)
    view[to_y, to_x], target[to_y, to_x] = shown[from_y, from_x], labels[from_y, from_x]
    if flip and rng.random() < 0.5:
        view, target = view[:, ::-1], target[:, ::-1]
    return np.ascontiguousarray(view), np.ascontiguousarray(target)


def _overlap(length: int, side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Where a stretch of `length` goes in one of `side` and what part of it, at a random place."""
    start = int(rng.integers(0, abs(length - side) + 1))
    both = min(length, side)
    inner, whole = slice(start, start + both), slice(0, both)
    return (whole, inner) if length >= side else (inner, whole)
