"""Strokes: what a brush painted on a photo, as class numbers of its own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shiftless.errors import BadInput


@dataclass(frozen=True, eq=False)
class Stroke:
    """One stroke of a round brush.

    label   a class number, or 255 for the eraser
    radius  of the brush, in original pixels
    points  N 2 (x, y), original pixels, in the order they were painted in; a single one is a dot
    """

    label: int
    radius: float
    points: np.ndarray


def paint(mask: np.ndarray, strokes: Sequence[Stroke]) -> np.ndarray:
    """Paint strokes over a mask H W uint8, in order, and return the result; the mask itself stays as it is.

    A pixel is painted if its centre lies within the radius of the line through a stroke's points. So what is painted
    does not depend on the zoom that it was painted at. Points outside the photo paint what of the brush is inside. A
    brush thinner than a pixel paints the pixels that its points lie in.

    >>> mask = np.full((3, 5), 255, np.uint8)
    >>> brush, eraser = Stroke(1, 0.6, np.array([[0.5, 1.5], [4.5, 1.5]])), Stroke(255, 0.6, np.array([[2.5, 1.5]]))
    >>> paint(mask, [brush, eraser])[1].tolist()
    [1, 1, 255, 1, 1]
    """
    result = mask.copy()
    for stroke in strokes:
        points = np.asarray(stroke.points, np.float64).reshape(-1, 2)
        ends = points[1:] if len(points) > 1 else points
        for start, end in zip(points, ends):
            _segment(result, start, end, stroke.radius, stroke.label)
        columns, rows = np.floor(points).astype(np.int64).T
        inside = (columns >= 0) & (rows >= 0) & (columns < mask.shape[1]) & (rows < mask.shape[0])
        result[rows[inside], columns[inside]] = stroke.label
    return result


def _segment(mask: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, label: int) -> None:
    """Paint what lies within the radius of one segment, looking only at the box around it."""
    h, w = mask.shape
    low = np.floor(np.minimum(start, end) - radius - 1).astype(int).clip(0, (w, h))
    high = np.ceil(np.maximum(start, end) + radius + 1).astype(int).clip(0, (w, h))
    if (high <= low).any():
        return
    xs, ys = np.arange(low[0], high[0]) + 0.5 - start[0], np.arange(low[1], high[1])[:, None] + 0.5 - start[1]
    way = end - start
    length = float(way @ way)
    along = ((xs * way[0] + ys * way[1]) / length).clip(0, 1) if length > 0 else np.zeros((len(ys), len(xs)))
    apart = (xs - along * way[0]) ** 2 + (ys - along * way[1]) ** 2
    mask[low[1] : high[1], low[0] : high[0]][apart <= radius * radius] = label


@dataclass(frozen=True)
class ClassColours:
    """The classes that are painted: their names and colours, in the order of their numbers.

    Raises BadInput for fewer than two, more than 255, a name twice or empty, and for what is no colour.

    >>> ClassColours.of([{"name": "sky", "colour": "#00a0ff"}, {"name": "ground", "colour": "#604020"}]).palette
    ((0, 160, 255), (96, 64, 32))
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, given: object, most: int = 64) -> ClassColours:
        """Read [{"name": ..., "colour": "#rrggbb"}, ...]."""
        if not isinstance(given, list) or not 2 <= len(given) <= most:
            raise BadInput(f"classes: give 2 to {most} of them, each with a name and a colour")
        names, colours = [], []
        for number, one in enumerate(given):
            name, colour = (one.get("name"), one.get("colour")) if isinstance(one, dict) else (None, None)
            if not isinstance(name, str) or not name.strip() or len(name) > 60:
                raise BadInput(f"class {number}: give a name of 1 to 60 characters")
            if name.strip() in names:
                raise BadInput(f"class {number}: another one is called {name.strip()!r} too; rename one")
            names.append(name.strip())
            colours.append(_rgb(colour, name))
        return cls(tuple(names), tuple(colours))


def _rgb(colour: object, name: str) -> tuple[int, int, int]:
    text = colour[1:] if isinstance(colour, str) and colour.startswith("#") else ""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 3:
        raise BadInput(f"class {name!r}: {str(colour)[:20]!r} is no colour; give one as #rrggbb")
    return value[0], value[1], value[2]
