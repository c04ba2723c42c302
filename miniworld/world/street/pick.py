"""Choosing by chance, many times a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Value = TypeVar("Value")


def pick(rng: np.random.Generator, values: Sequence[Value], odds: Sequence[float] | None = None) -> Value:
    """One of the values; the odds need not add up to 1.

    >>> pick(np.random.default_rng(0), ("car", "bus"), (1.0, 0.0))
    'car'
    """
    at = rng.random()
    if odds is None:
        return values[int(at * len(values))]
    at *= sum(odds)
    for value, share in zip(values, odds):
        at -= share
        if at < 0:
            return value
    return values[-1]
