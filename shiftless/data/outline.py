"""Outlines filled: the pixels whose centres lie inside a polygon or a circle."""

from __future__ import annotations

import numpy as np


def fill_polygon(points: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Return the pixels whose centres lie inside a polygon: points N 2 (x, y) -> H W bool.

    Points are in pixels, pixel centres at +0.5; the last is joined to the first. Inside is by the even-odd rule. Two
    polygons that share an edge share no pixel and leave none out between them; OpenCV's fillPoly, which draws the
    outline too, gives the pixels along it to both.

    >>> fill_polygon(np.array([[1, 1], [3, 1], [3, 2], [1, 2]]), (3, 4)).astype(int)
    array([[0, 0, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    h, w = hw
    crossed = np.zeros((h, w + 1), bool)  # where a row enters or leaves the polygon, from left to right
    for start, end in zip(points, np.roll(points, -1, 0)):
        (x0, y0), (x1, y1) = sorted((tuple(start), tuple(end)), key=lambda point: point[1])
        first, stop = (int(np.clip(np.ceil(y - 0.5), 0, h)) for y in (y0, y1))
        rows = np.arange(first, stop)
        if len(rows):
            x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            crossed[rows, np.clip(np.ceil(x - 0.5), 0, w).astype(np.int64)] ^= True
    return np.logical_xor.accumulate(crossed, axis=1)[:, :w]


def fill_circle(centre: np.ndarray, edge: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Return the pixels whose centres lie in the circle around `centre` through `edge`, both (x, y): H W bool.

    >>> fill_circle(np.array([1.5, 1.5]), np.array([1.5, 0.5]), (3, 3)).astype(int)
    array([[0, 1, 0],
           [1, 1, 1],
           [0, 1, 0]])
    """
    y, x = np.ogrid[: hw[0], : hw[1]]
    (cx, cy), radius = centre, np.hypot(*(edge - centre))
    return np.asarray(np.hypot(x + 0.5 - cx, y + 0.5 - cy) <= radius)
