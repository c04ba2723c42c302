"""Outlines: the pixels whose centres lie inside a polygon or a circle, and the polygons around given pixels."""

from __future__ import annotations

import cv2
import numpy as np

_WAYS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up: each is a right turn from the one before


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


def polygons_of(inside: np.ndarray) -> list[np.ndarray]:
    """Return polygons, each N 2 (x, y), that fill to exactly these pixels H W bool: one for each connected region.

    They run along the edges of pixels, so that `fill_polygon` of each, joined, gives the pixels back. Pixels that touch
    at a corner alone are of two regions. A hole is joined to its region's outline by a line that is walked there and
    back; by the even-odd rule it is not inside.

    >>> [one.tolist() for one in polygons_of(np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]], bool))]
    [[[1.0, 0.0], [3.0, 0.0], [3.0, 1.0], [1.0, 1.0]], [[0.0, 2.0], [1.0, 2.0], [1.0, 3.0], [0.0, 3.0]]]
    """
    count, regions, boxes, _ = cv2.connectedComponentsWithStats(np.asarray(inside, np.uint8), connectivity=4)
    polygons = []
    for number in range(1, count):
        left, top, w, h = (int(value) for value in boxes[number, :4])
        outer: list[np.ndarray] = []
        holes: list[np.ndarray] = []
        for ring in _rings(regions[top : top + h, left : left + w] == number):
            x, y = ring.T
            (outer if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0 else holes).append(ring)
        whole = [outer[0]]
        if holes:
            start = outer[0][:1]
            whole += [start, *(part for hole in holes for part in (hole, hole[:1], start))]
        polygons.append(np.concatenate(whole) + (left, top))
    return polygons


def _rings(inside: np.ndarray) -> list[np.ndarray]:
    """The closed lines along the edges of a connected region's pixels, inside to the right: corners N 2 of each."""
    padded = np.pad(inside, 1)
    here = padded[1:-1, 1:-1]
    edges: set[tuple[int, int, int]] = set()  # where an edge begins, x and y, and which way it goes
    sides = ((padded[:-2, 1:-1], 0, 0), (padded[1:-1, 2:], 1, 0), (padded[2:, 1:-1], 1, 1), (padded[1:-1, :-2], 0, 1))
    for way, (beside, right, down) in enumerate(sides):
        rows, columns = np.nonzero(here & ~beside)
        edges.update((x, y, way) for x, y in zip((columns + right).tolist(), (rows + down).tolist()))
    rings = []
    for first in sorted(edges, key=lambda edge: (edge[1], edge[0], edge[2])):
        if first not in edges:
            continue
        corners, (x, y, way) = [], first
        while (x, y, way) in edges:
            edges.remove((x, y, way))
            x, y = x + _WAYS[way][0], y + _WAYS[way][1]
            turn = next((t for t in (1, 0, 3) if (x, y, (way + t) % 4) in edges or (x, y, (way + t) % 4) == first), 1)
            if turn:
                corners.append((x, y))
            way = (way + turn) % 4
        rings.append(np.array(corners[-1:] + corners[:-1], np.float64))
    return rings
