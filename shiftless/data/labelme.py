"""Labels that LabelMe saves: polygons, rectangles, circles and masks in NAME.json beside NAME.jpg; read and written."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shiftless.data.classlist import UNLABELLED_NAME, plain_name
from shiftless.data.jsonfile import field, read_json
from shiftless.data.labelledphoto import check_size
from shiftless.data.outline import fill_circle, fill_polygon, polygons_of
from shiftless.data.palette import BACKGROUND
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE

_LEAST = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}


@dataclass(frozen=True, eq=False)
class _Shape:
    name: str | None  # None: these pixels are not to be labelled
    kind: str
    points: np.ndarray
    inside: np.ndarray | None  # of a mask, its pixels


class LabelMe:
    """The shapes of one photo, checked; drawn in the order of the file, so that later ones lie on top.

    A pixel belongs to a shape if its centre lies inside (`outline.py`). Points are in pixels of the upright photo, as
    LabelMe shows it. Pixels that no shape covers are background, if a class is called so, and otherwise have no label;
    neither have those of a shape called "__ignore__".

    path   of the file, which messages name     notes  what it holds, if it was read already

    Raises BadInput naming the file and the shape: no valid JSON, no shapes, points that are not finite, a point or a
    line, which cover no pixels.
    """

    ordered = False  # names come in the order in which somebody drew

    def __init__(self, path: Path, notes: Any = None) -> None:
        self.path = path
        notes = read_json(path) if notes is None else notes
        shapes = field(notes, "shapes", str(path))
        if not isinstance(shapes, list):
            raise BadInput(f"{path}: 'shapes' must be a list")
        self.shapes = [_shape(shape, f"{path}: shape {index}") for index, shape in enumerate(shapes)]
        self.size: tuple[int, int] | None = None
        height, width = notes.get("imageHeight"), notes.get("imageWidth")
        if isinstance(height, int) and isinstance(width, int):
            self.size = height, width

    def names(self) -> list[str]:
        """The names of the classes that are drawn, each once."""
        return list(dict.fromkeys(shape.name for shape in self.shapes if shape.name is not None))

    def values(self, hw: tuple[int, int], numbers: Mapping[str, int]) -> np.ndarray:
        """Draw the shapes: H W uint8; `numbers` has the number of each class.

        Raises BadInput naming the file: it was drawn on a photo of another size than hw.
        """
        if self.size is not None:
            check_size(self.size, hw, str(self.path))
        mask = np.full(hw, numbers.get(BACKGROUND, IGNORE), np.uint8)
        for index, shape in enumerate(self.shapes):
            number = IGNORE if shape.name is None else numbers[shape.name]
            mask[_inside(shape, hw, f"{self.path}: shape {index}")] = number
        return mask


def labelme_document(mask: np.ndarray, names: Sequence[str], photo: str) -> dict[str, Any]:
    """Write a mask H W uint8, 255 where unlabelled, as LabelMe does: polygons along the edges of pixels.

    names  of class 0, 1, ...        photo  the name of its file, as "imagePath"

    `LabelMe` reads exactly the mask back. Pixels of a class called background are those that no polygon covers; those
    without a label are then "__ignore__".

    >>> document = labelme_document(np.array([[0, 1], [0, 255]], np.uint8), ["background", "leg"], "a.jpg")
    >>> [(shape["label"], shape["points"][0]) for shape in document["shapes"]]
    [('leg', [1.0, 0.0]), ('__ignore__', [1.0, 1.0])]
    """
    drawn = {name: number for number, name in enumerate(names) if name != BACKGROUND}
    if BACKGROUND in names:
        drawn[UNLABELLED_NAME] = IGNORE
    shapes = [
        {"label": name, "points": polygon.tolist(), "group_id": None, "shape_type": "polygon", "flags": {}}
        for name, number in drawn.items()
        for polygon in polygons_of(mask == number)
    ]
    h, w = mask.shape
    return {
        "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": photo, "imageData": None, "imageHeight": h,
        "imageWidth": w,
    }  # fmt: skip


def _shape(record: Any, where: str) -> _Shape:
    name, points = field(record, "label", where), field(record, "points", where)
    kind = record.get("shape_type") or "polygon"
    if not isinstance(name, str) or not name.strip():
        raise BadInput(f"{where}: 'label' must be the name of a class")
    where = f"{where} ({name!r})"
    if not isinstance(kind, str) or kind not in _LEAST:
        raise BadInput(f"{where}: a {kind}, which covers no pixels; draw {', '.join(_LEAST)}")
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise BadInput(f"{where}: 'points' must be a list of [x, y], finite numbers")
    if len(array) < _LEAST[kind]:
        raise BadInput(f"{where}: a {kind} of {len(array)} points; it needs {_LEAST[kind]} or more")
    return _Shape(plain_name(name), kind, array, _mask(record, where) if kind == "mask" else None)


def _mask(record: Any, where: str) -> np.ndarray:
    try:
        data = base64.b64decode(field(record, "mask", where), validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.asarray(image.convert("L")) > 0
    except BadInput:
        raise
    except Exception:  # base64 and broken data raise nearly anything
        raise BadInput(f"{where}: its 'mask' is no PNG in base64; save it with LabelMe again") from None


def _inside(shape: _Shape, hw: tuple[int, int], where: str) -> np.ndarray:
    if shape.kind == "circle":
        return fill_circle(shape.points[0], shape.points[1], hw)
    if shape.inside is not None:
        result = np.zeros(hw, bool)
        left, top = (int(value) for value in np.floor(shape.points[0]))
        h, w = shape.inside.shape
        if not (0 <= top <= hw[0] - h and 0 <= left <= hw[1] - w):
            raise BadInput(f"{where}: a mask of {w}x{h} pixels at ({left}, {top}) does not lie in the photo")
        result[top : top + h, left : left + w] = shape.inside
        return result
    if shape.kind == "rectangle" and len(shape.points) == 2:
        (x0, y0), (x1, y1) = shape.points
        return fill_polygon(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), hw)
    return fill_polygon(shape.points, hw)
