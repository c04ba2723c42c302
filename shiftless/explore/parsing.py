"""Parsing: requests of a browser, checked value by value before anything is done with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from shiftless.errors import BadInput
from shiftless.explore.clicks import Click
from shiftless.explore.labels import Labels
from shiftless.explore.limits import Limits
from shiftless.explore.looks import Look
from shiftless.explore.partsearch import PartRequest
from shiftless.explore.shifts import ShiftRequest
from shiftless.explore.strokes import ClassColours, Stroke

_CLIENT = re.compile(r"[A-Za-z0-9_-]{8,64}")
_WIDEST = 2048.0  # pixels; the largest radius of a brush
_PAINTED = 3e9  # pixels that the boxes around all parts of strokes may hold, so that painting takes seconds at most


def client_named(name: str | None) -> str:
    """Check the name that a tab gave itself.

    >>> client_named("../etc")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: the request names no tab (X-Shiftless-Client); reload the page
    """
    if name is None or not _CLIENT.fullmatch(name):
        raise BadInput("the request names no tab (X-Shiftless-Client); reload the page")
    return name


def number_given(text: str | None) -> int:
    """Read the number that a tab gave its request; 0 where it gave none.

    >>> number_given("12"), number_given(None)
    (12, 0)
    """
    if text is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise BadInput("the request's number (X-Shiftless-Number) is no number; reload the page")
    return int(text)


def document(content: bytes) -> dict[str, Any]:
    """Read a JSON object.

    >>> document(b"[1")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: the request is no JSON object
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadInput("the request is no JSON object")
    return value


def click_of(fields: Mapping[str, Any], limits: Limits) -> Click:
    """Read a click: photo, point, targets, recipes, side.

    >>> click_of({"photo": 0, "point": [1, 2.5], "targets": [1], "recipes": [0]}, Limits()).pairs
    [(1, 0)]
    """
    point = fields.get("point")
    if not (isinstance(point, list) and len(point) == 2 and all(_is_number(value) for value in point)):
        raise BadInput("point: give [x, y] in pixels of the photo")
    side = min(_whole(fields, "side", 96), limits.side)
    return Click(
        _whole(fields, "photo"), (float(point[0]), float(point[1])), _wholes(fields, "targets", limits.photos),
        _wholes(fields, "recipes", limits.recipes), max(1, side),
    )  # fmt: skip


def read_ahead_of(fields: Mapping[str, Any], limits: Limits) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Read which photos are to be read by which recipes."""
    return _wholes(fields, "photos", limits.photos), _wholes(fields, "recipes", limits.recipes)


def look_of(fields: Mapping[str, Any], limits: Limits) -> Look:
    """Read a look: photos, recipe, tap, timestep, word, segments, cuts."""
    tap, timestep = fields.get("tap", ""), fields.get("timestep")
    word, segments = fields.get("word", ""), _whole(fields, "segments", 0)
    if not isinstance(word, str) or len(word) > 200:
        raise BadInput("word: give one of the prompt")
    if segments > limits.segments:
        raise BadInput(f"segments: give 0 to {limits.segments}")
    if not isinstance(tap, str) or len(tap) > 200:
        raise BadInput("tap: give the name of one")
    if timestep is not None:
        timestep = _whole(fields, "timestep")
    photos, recipe = _wholes(fields, "photos", limits.photos), _whole(fields, "recipe", 0)
    return Look(photos, recipe, tap, timestep, word, segments, fields.get("cuts") is True)


def shift_of(fields: Mapping[str, Any], limits: Limits) -> ShiftRequest:
    """Read what is to be audited: photos, recipe, timestep."""
    timestep = None if fields.get("timestep") is None else _whole(fields, "timestep")
    return ShiftRequest(_wholes(fields, "photos", limits.audited), _whole(fields, "recipe", 0), timestep)


def part_of(fields: Mapping[str, Any], limits: Limits) -> PartRequest:
    """Read which part is sought in the store: photo, point or region, top.

    >>> part_of({"photo": 0, "region": [1, 2, 5, 6]}, Limits()).region
    (1.0, 2.0, 5.0, 6.0)
    """
    given = [fields[key] for key in ("point", "region") if fields.get(key) is not None]
    if len(given) != 1:
        raise BadInput("the part: give one of point [x, y] and region [x0, y0, x1, y1]")
    (part,) = given
    count = 2 if fields.get("point") is not None else 4
    if not (isinstance(part, list) and len(part) == count and all(_is_number(value) for value in part)):
        raise BadInput("the part: give point as [x, y] or region as [x0, y0, x1, y1], in pixels of the photo")
    numbers: Any = tuple(float(value) for value in part)
    point, region = (numbers, None) if count == 2 else (None, numbers)
    return PartRequest(_whole(fields, "photo"), point, region, min(max(1, _whole(fields, "top", 12)), limits.photos))


def labels_of(fields: Mapping[str, Any], limits: Limits) -> Labels:
    """Read what was painted: classes, labels ([{photo, strokes: [{label, radius, points}]}]), recipe."""
    classes = ClassColours.of(fields.get("classes"), limits.classes)
    given = fields.get("labels")
    if not isinstance(given, list) or len(given) > limits.photos:
        raise BadInput(f"labels: give a list of at most {limits.photos} photos with their strokes")
    strokes: dict[int, tuple[Stroke, ...]] = {}
    cost = 0.0
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("strokes"), list):
            raise BadInput("labels: each needs a photo and its strokes")
        photo = _whole(one, "photo")
        painted = tuple(_stroke(stroke, len(classes.names)) for stroke in one["strokes"])
        if sum(len(stroke.points) for stroke in painted) > limits.stroke_points:
            raise BadInput(f"photo {photo}: its strokes have over {limits.stroke_points:,} points; undo some")
        cost += sum(_cost(stroke) for stroke in painted)
        strokes[photo] = strokes.get(photo, ()) + painted
    if cost > _PAINTED:
        raise BadInput("the strokes are too many and too wide to be painted in time; use fewer, or a finer brush")
    return Labels(classes, strokes, _whole(fields, "recipe", 0))


def _stroke(given: Any, classes: int) -> Stroke:
    points = given.get("points") if isinstance(given, dict) else None
    try:
        array = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all() or np.abs(array).max() > 1e6:
        raise BadInput("a stroke's points must be [[x, y], ...] in pixels of the photo")
    label, radius = _whole(given, "label"), given.get("radius")
    if label >= classes and label != 255:
        raise BadInput(f"a stroke is of class {label}, and there are {classes}; give 255 for the eraser")
    if not _is_number(radius) or not 0 < radius <= _WIDEST:
        raise BadInput(f"a stroke's radius must be above 0 and at most {_WIDEST:g} pixels")
    return Stroke(label, float(radius), array)


def _cost(stroke: Stroke) -> float:
    """Pixels of the boxes around a stroke's segments."""
    steps = np.abs(np.diff(stroke.points, axis=0)) if len(stroke.points) > 1 else np.zeros((1, 2))
    return float(np.prod(np.minimum(steps + 2 * stroke.radius + 2, 2**16), axis=1).sum())


def _whole(fields: Mapping[str, Any], key: str, usual: int | None = None) -> int:
    value = fields.get(key, usual)
    if type(value) is not int or not 0 <= value < 2**31:
        raise BadInput(f"{key}: give a whole number, 0 or more")
    return value


def _wholes(fields: Mapping[str, Any], key: str, most: int) -> tuple[int, ...]:
    values = fields.get(key)
    if not isinstance(values, list) or not 1 <= len(values) <= most:
        raise BadInput(f"{key}: give a list of 1 to {most} numbers")
    return tuple(dict.fromkeys(_whole({key: value}, key) for value in values))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
