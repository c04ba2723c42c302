"""Masks and their colours: what every picture of a segmentation checks before it is drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from shiftless.errors import BadInput

UNLABELLED = 255
"""The value of a mask's pixels that have no class."""


def check_palette(palette: ArrayLike, classes: int | None = None) -> np.ndarray:
    """Return a palette L 3 uint8, one colour a class; raises BadInput for another shape, number or range.

    >>> check_palette([(255, 0, 0), (0, 0, 255)], 2).dtype
    dtype('uint8')
    """
    array = np.asarray(palette)
    count = f"{classes}" if classes is not None else f"1 to {UNLABELLED}"
    fits = array.ndim == 2 and array.shape[1:] == (3,) and 1 <= len(array) <= UNLABELLED
    if not fits or (classes is not None and len(array) != classes):
        raise BadInput(f"a palette of shape {array.shape}: give {count} colours (red, green, blue)")
    if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() > 255:
        raise BadInput(f"a palette of {array.dtype} from {array.min():g} to {array.max():g}: give whole numbers to 255")
    return array.astype(np.uint8)


def check_mask(mask: ArrayLike, classes: int, hw: tuple[int, ...] | None = None, name: str = "mask") -> np.ndarray:
    """Return a mask H W uint8, checked: of this height and width, class numbers below `classes`, or 255.

    Raises BadInput naming the values that are no classes, or the size.

    >>> check_mask([[0, 3], [255, 1]], 2)
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: mask: holds the values 3; give class numbers from 0 to 1, or 255 where unlabelled
    """
    array = np.asarray(mask)
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.integer):
        raise BadInput(f"{name}: has shape {array.shape}, {array.dtype}; give H W class numbers, uint8")
    if hw is not None and array.shape != tuple(hw):
        raise BadInput(
            f"{name}: is {array.shape[1]} x {array.shape[0]} pixels, the photo {hw[1]} x {hw[0]}; resize one"
        )
    wrong = (array != UNLABELLED) & ((array < 0) | (array >= classes))
    if wrong.any():
        values = np.unique(array[wrong])
        several = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
        known = f"class numbers from 0 to {classes - 1}, or {UNLABELLED} where unlabelled"
        raise BadInput(f"{name}: holds the values {several}; give {known}")
    return array.astype(np.uint8)


def class_counts(mask: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of each class in a mask H W: L int64; unlabelled pixels are not counted.

    >>> class_counts(np.array([[0, 2, 2, 255]], np.uint8), 3).tolist()
    [1, 0, 2]
    """
    return np.bincount(mask.ravel(), minlength=UNLABELLED + 1)[:classes]


def percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage, with a digit after the point below ten.

    >>> [percent(share) for share in (0.5, 0.034, 0.0004, 0)]
    ['50%', '3.4%', '<0.1%', '0%']
    """
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{100 * share:.0f}%" if share >= 0.0995 or not share else f"{100 * share:.1f}%"
