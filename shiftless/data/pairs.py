"""A user's own pairs: a folder with pictures and one annotations.json.

    FOLDER/annotations.json
    FOLDER/images/...

    {"images": {"tom": {"file": "images/tom.jpg", "cls": "cat", "width": 300, "height": 200,
                        "keypoints": [[46.9, 97.2], null, [44, 56]],
                        "bbox": [36.6, 44.9, 219.8, 120.8]},
                "kit": {...}},
     "pairs": [["tom", "kit"]]}

Keypoint k of one picture answers keypoint k of its partner; null is one that is not visible. Coordinates are (x, y)
from 0 and name pixels: (0, 0) is the first pixel, whose centre is (0.5, 0.5) here; `"pixel_centres": 0.5` at the top
says that they already count so. Without a bbox the keypoints' own bounds are taken, as PF-WILLOW's scores do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from shiftless.data.jsonfile import field, read_json
from shiftless.data.photopair import Box, PhotoPair, check_box, check_points
from shiftless.errors import BadInput


def read_pairs(folder: str | os.PathLike[str]) -> list[PhotoPair]:
    """Read a folder of annotated pairs, checked throughout; docs/pairs.md has an example.

    Raises BadInput naming the file and the entry: a missing folder, picture or field, points that are not finite or
    lie outside the picture, partners with different numbers of keypoints.

    >>> read_pairs("nowhere")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no such folder; give one that holds annotations.json and its pictures
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; give one that holds annotations.json and its pictures")
    path = folder / "annotations.json"
    notes = read_json(path)
    images, pairs = field(notes, "images", str(path)), field(notes, "pairs", str(path))
    if not isinstance(images, dict) or not isinstance(pairs, list) or not pairs:
        raise BadInput(f"{path}: 'images' must be an object and 'pairs' a list of [id, id], at least one")
    shift = 0.5 - _offset(notes, path)
    known = {name: _Image(folder, path, name, record, shift) for name, record in images.items()}
    return [_pair(known, path, index, pair) for index, pair in enumerate(pairs)]


def _offset(notes: dict[str, Any], path: Path) -> float:
    offset = notes.get("pixel_centres", 0)
    if offset not in (0, 0.5):
        raise BadInput(f"{path}: 'pixel_centres' is {offset!r}; it must be 0 (the default) or 0.5")
    return float(offset)


class _Image:
    """One entry of "images", checked; points that are not visible are NaN."""

    def __init__(self, folder: Path, path: Path, name: str, record: Any, shift: float) -> None:
        where = f"{path}: image {name!r}"
        self.where, self.name = where, name
        self.file = folder / str(field(record, "file", where))
        if not os.path.isfile(self.file):  # False for a name that no file can have, too
            raise BadInput(f"{where}: there is no picture {self.file}")
        self.size = (_side(record, "height", where), _side(record, "width", where))
        self.category = str(record.get("cls", "all"))
        rows = field(record, "keypoints", where)
        if not isinstance(rows, list) or not any(row is not None for row in rows):
            raise BadInput(f"{where}: 'keypoints' must be a list of [x, y] (or null), at least one to be seen")
        visible = np.array([row is not None for row in rows])
        self.points = np.full((len(rows), 2), np.nan)
        self.points[visible] = check_points(_rows(rows, where), self.size, where) + shift
        inside = check_points(np.minimum(self.points[visible], self.size[::-1]), self.size, where)
        self.points[visible] = inside  # a 0-based coordinate in the last half pixel stays in the picture
        box = record.get("bbox")
        low, high = inside.min(0), inside.max(0)
        self.box: Box | None = None
        if box is not None:
            x0, y0, x1, y1 = check_box(box, where)
            self.box = (x0 + shift, y0 + shift, x1 + shift, y1 + shift)
        elif (high > low).all():
            self.box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _rows(rows: list[Any], where: str) -> list[Any]:
    for index, row in enumerate(rows):
        if row is not None and not (isinstance(row, list) and len(row) == 2):
            raise BadInput(f"{where}: keypoint {index} is {row!r}; give [x, y] or null")
    return [row for row in rows if row is not None]


def _side(record: dict[str, Any], name: str, where: str) -> int:
    value = field(record, name, where)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{where}: {name!r} is {value!r}; give a whole number of pixels")
    return value


def _pair(known: dict[str, _Image], path: Path, index: int, pair: Any) -> PhotoPair:
    where = f"{path}: pair {index}"
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)):
        raise BadInput(f"{where} is {pair!r}; give two image ids [source, target]")
    for name in pair:
        if name not in known:
            raise BadInput(f"{where} names {name!r}, which is not in 'images'")
    a, b = known[pair[0]], known[pair[1]]
    if len(a.points) != len(b.points):
        raise BadInput(
            f"{where}: {a.name!r} has {len(a.points)} keypoints and {b.name!r} {len(b.points)}; use null for unseen"
        )
    both = np.isfinite(a.points).all(1) & np.isfinite(b.points).all(1)
    if not both.any():
        raise BadInput(f"{where}: {a.name!r} and {b.name!r} have no keypoint that is seen in both")
    if b.box is None:
        raise BadInput(f"{b.where}: give a 'bbox'; its keypoints span none")
    return PhotoPair(
        a.file, b.file, a.points[both], b.points[both], a.size, b.size, b.box, b.category, f"{a.name} -> {b.name}"
    )
