"""PhotoPair: two photos of one kind of thing, and the points that correspond."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from shiftless.digest import digest_of_file
from shiftless.errors import BadInput

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class PhotoPair:
    """Two photos and N corresponding points; every matching benchmark is a list of these.

    source, target        a path, or anything else that `shiftless.extract` takes
    source_points         N 2 (x, y), original pixels, pixel centres at +0.5
    target_points         N 2, the answers
    source_size           (h, w) in pixels; target_size too
    target_box            (x0, y0, x1, y1) of the thing in the target
    category, id          for tables and messages

    >>> pair = PhotoPair("a.jpg", "b.jpg", np.ones((2, 2)), np.ones((2, 2)), (8, 8), (9, 9), (0, 0, 4, 4), "cat", "1")
    >>> pair
    PhotoPair(1: a.jpg -> b.jpg, 2 points, cat)
    """

    source: Any
    target: Any
    source_points: np.ndarray
    target_points: np.ndarray
    source_size: tuple[int, int]
    target_size: tuple[int, int]
    target_box: Box
    category: str
    id: str

    def __repr__(self) -> str:
        names = " -> ".join(photo_name(photo) for photo in (self.source, self.target))
        return f"PhotoPair({self.id}: {names}, {len(self.source_points)} points, {self.category})"


def photo_name(photo: Any) -> str:
    """Return a photo's name for messages: its file's name, or its own.

    >>> photo_name("cats/a.jpg")
    'a.jpg'
    """
    return Path(photo).name if isinstance(photo, str | os.PathLike) else str(getattr(photo, "name", "image"))


def photo_key(photo: Any) -> str:
    """Return the identity of a photo: the path, or the digest of the content.

    >>> photo_key("cats/a.jpg")
    'cats/a.jpg'
    """
    return os.fspath(photo) if isinstance(photo, str | os.PathLike) else str(photo.digest)


def photo_content(photo: Any) -> str:
    """Return an identity that copies of a photo under different names share: the digest of the file or of the picture.

    A path where no file lies stands for itself.

    >>> photo_content("cats/no-such-file.jpg")
    'cats/no-such-file.jpg'
    """
    key = photo_key(photo)
    is_path = isinstance(photo, str | os.PathLike)
    return digest_of_file(key) if is_path and Path(key).is_file() else key


def check_points(points: ArrayLike, size: tuple[int, int], where: str) -> np.ndarray:
    """Return points as N 2 float64; raises BadInput naming `where` unless they are finite and inside (h, w).

    >>> check_points([(9, 2)], (8, 8), "pairs.json: image 'a'")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: pairs.json: image 'a': point 0 (9, 2) lies outside the 8x8 image
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        raise BadInput(f"{where}: points must be a list of [x, y] numbers, at least one")
    finite = np.isfinite(array).all(1)
    if not finite.all():
        raise BadInput(f"{where}: point {int(np.argmin(finite))} is not finite; give numbers in pixels")
    height, width = size
    inside = ((array >= 0) & (array <= (width, height))).all(1)
    if not inside.all():
        bad = int(np.argmin(inside))
        raise BadInput(
            f"{where}: point {bad} ({array[bad][0]:g}, {array[bad][1]:g}) lies outside the {width}x{height} image"
        )
    return array


def check_box(box: Sequence[float], where: str) -> Box:
    """Return a box as four floats; raises BadInput naming `where` unless x1 > x0 and y1 > y0, all finite.

    >>> check_box([0, 0, 4, 3], "a.json")
    (0.0, 0.0, 4.0, 3.0)
    """
    try:
        x0, y0, x1, y1 = (float(v) for v in box)
    except (TypeError, ValueError, OverflowError):
        raise BadInput(f"{where}: the box must be four numbers [x0, y0, x1, y1], not {box!r}") from None
    if not (np.isfinite([x0, y0, x1, y1]).all() and x1 > x0 and y1 > y0):
        raise BadInput(
            f"{where}: the box {list(box)!r} is empty or not finite; give [x0, y0, x1, y1] with x1 > x0, y1 > y0"
        )
    return x0, y0, x1, y1


def spread(pairs: Sequence[PhotoPair], n: int | None) -> list[PhotoPair]:
    """Return n pairs that share out over the categories, evenly spaced in each; all of them if n is None.

    >>> p = [PhotoPair("a", "b", np.ones((1, 2)), np.ones((1, 2)), (8, 8), (8, 8), (0, 0, 1, 1), c, c) for c in "aaab"]
    >>> [pair.category for pair in spread(p, 2)]
    ['a', 'b']
    """
    if n is None or n >= len(pairs):
        return list(pairs)
    if n < 1:
        raise BadInput(f"n={n}: give how many pairs to use, at least 1")
    places: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        places.setdefault(pair.category, []).append(index)
    quota = dict.fromkeys(places, 0)
    while n:
        for category in places:
            if n and quota[category] < len(places[category]):
                quota[category] += 1
                n -= 1
    return [pairs[i] for i in sorted(i for c in places for i in evenly(places[c], quota[c]))]


def evenly(items: Sequence[Any], n: int) -> list[Any]:
    """Return n of the items, evenly spaced and in order; all of them if there are fewer.

    >>> evenly("abcdef", 3)
    ['a', 'c', 'e']
    """
    n = min(n, len(items))
    return [items[i * len(items) // n] for i in range(n)]
