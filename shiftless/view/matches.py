"""Matches between two photos, and heat maps: what is like what, drawn on the photos themselves."""

from __future__ import annotations

import colorsys
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from shiftless.errors import BadInput
from shiftless.view.sheet import Colour, enlarge, font, rgb, theme_named

RIGHT, WRONG = (38, 166, 91), (220, 50, 47)
_BITS = 4  # fractions of a pixel that OpenCV draws at
_GAP = 28
_MOST_LABELS = 40


def matches_picture(
    photo_a: Any,
    photo_b: Any,
    points_a: ArrayLike,
    points_b: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    mutual: ArrayLike | None = None,
    correct: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    height: int = 448,
    theme: str = "light",
) -> Image.Image:
    """Draw two photos side by side with their matching points, numbered dots joined by lines.

    photo_a, photo_b    anything `open_photo` takes        height   of both photos in the picture
    points_a, points_b  N 2 (x, y), original pixels        scores   N cosines, written beside the points of b
    mutual   N bool: lines of matches that do not return are thin and pale
    correct  N bool: green lines are right, red ones wrong; without it every point has a colour of its own
    truth    N 2, where the points of b should be: a ring, drawn where the match is not correct

    Raises BadInput if the numbers of points differ or they are not finite.

    >>> photo = np.zeros((100, 100, 3), np.uint8)
    >>> matches_picture(photo, photo, [(20, 30)], [(60, 70)], height=200).size
    (428, 200)
    """
    a, b = _points("points_a", points_a), _points("points_b", points_b, len(np.atleast_2d(np.asarray(points_a))))
    left, right = enlarge(photo_a, height), enlarge(photo_b, height)
    canvas = Image.new("RGB", (left.width + _GAP + right.width, height), theme_named(theme).paper)
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width + _GAP, 0))
    from_a, from_b = height / rgb(photo_a).shape[0], height / rgb(photo_b).shape[0]
    shift = np.array([left.width + _GAP, 0])
    a, b = a * from_a, b * from_b + shift
    goal = None if truth is None else _points("truth", truth, len(a)) * from_b + shift
    kept = np.ones(len(a), bool) if mutual is None else _flags("mutual", mutual, len(a))
    judged = None if correct is None else _flags("correct", correct, len(a))
    colours = [point_colour(i, len(a)) if judged is None else RIGHT if judged[i] else WRONG for i in range(len(a))]

    array = np.array(canvas)
    lines = array.copy()
    for start, end, colour, strong in zip(a, b, colours, kept):
        _line(lines, start, end, colour, 2 if strong else 1)
    array = cv2.addWeighted(lines, 0.72, array, 0.28, 0)
    for i, colour in enumerate(colours):
        if goal is not None and (judged is None or not judged[i]):
            _line(array, b[i], goal[i], (255, 255, 255), 1)
            _ring(array, goal[i], 7, RIGHT)
        for place in (a[i], b[i]):
            _dot(array, place, 10 if len(a) <= _MOST_LABELS else 5, colour, kept[i])
    picture = Image.fromarray(array)
    if len(a) <= _MOST_LABELS:
        _number(picture, a, b, None if scores is None else np.asarray(scores, float), kept)
    return picture


def match_sheet(
    photo_a: Any,
    photo_b: Any,
    matches: Any,
    heat: ArrayLike,
    *,
    truth: ArrayLike | None = None,
    correct: ArrayLike | None = None,
    height: int = 448,
    theme: str = "light",
) -> Image.Image:
    """Draw `shiftless.match`'s answer, and below it where the first point's heat lies in b.

    matches  a Matches: source, points, scores, mutual      heat  h w, what `heat` gives for the first point
    other arguments and errors as in `matches_picture`

    >>> from types import SimpleNamespace
    >>> matches = SimpleNamespace(source=[(9, 9)], points=[(5, 5)], scores=[0.9], mutual=None)
    >>> photo = np.zeros((40, 40, 3), np.uint8)
    >>> match_sheet(photo, photo, matches, np.eye(4), height=120).size
    (268, 268)
    """
    judged = {"correct": correct, "truth": truth, "mutual": matches.mutual}
    scores = None if correct is not None else matches.scores
    options: dict[str, Any] = {"height": height, "theme": theme}
    above = matches_picture(photo_a, photo_b, matches.source, matches.points, scores=scores, **judged, **options)
    left, right = np.array(enlarge(photo_a, height)), np.array(enlarge(photo_b, height))
    point = np.asarray(matches.source[0], float) * height / rgb(photo_a).shape[0]
    sheet = Image.new("RGB", (above.width, 2 * height + _GAP), theme_named(theme).paper)
    sheet.paste(above, (0, 0))
    sheet.paste(Image.fromarray(mark_point(left, point)), (0, height + _GAP))
    sheet.paste(Image.fromarray(heat_overlay(right, heat)), (left.shape[1] + _GAP, height + _GAP))
    return sheet


def heat_overlay(
    image: Any,
    heat: ArrayLike,
    *,
    mark: bool = True,
    strength: float = 0.72,
    ends: tuple[float, float] | None = None,
) -> np.ndarray:
    """Lay a heat map over an image, dark where it is low, glowing where it is high: H W 3 uint8 of the image's size.

    heat      h w, of any size
    mark      put a ring where it is highest
    strength  how much of the picture is heat where it is highest
    ends      of the scale, for several maps on one; by default the lowest value in 100 and the highest one

    Raises BadInput for a map that is not h w or not finite.

    >>> heat_overlay(np.zeros((64, 96, 3), np.uint8), np.eye(8)).shape
    (64, 96, 3)
    """
    array, values = rgb(image), np.asarray(heat, np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise BadInput(f"heat has shape {values.shape}; give h w of finite values")
    h, w = array.shape[:2]
    large = cv2.resize(values, (w, h), interpolation=cv2.INTER_CUBIC)
    low, high = ends or (float(np.percentile(large, 1)), float(large.max()))
    share = np.clip((large - low) / max(high - low, 1e-9), 0, 1)
    glow = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.float32)
    grey = array.mean(2, keepdims=True) * 0.55 + array * 0.25
    weight = strength * (0.35 + 0.65 * share[..., None])
    mixed = np.ascontiguousarray((grey * (1 - weight) + glow * weight).clip(0, 255).astype(np.uint8))
    if mark:
        y, x = np.unravel_index(int(large.argmax()), large.shape)
        _ring(mixed, np.array([x + 0.5, y + 0.5]), max(5.0, h / 36), (255, 255, 255))
    return mixed


def mark_point(image: Any, point: ArrayLike, colour: Colour = (255, 196, 0)) -> np.ndarray:
    """Put one dot on a picture, at (x, y) of its own pixels; returns a copy, H W 3 uint8."""
    array = rgb(image).copy()
    _dot(array, _points("point", np.reshape(np.asarray(point, float), (1, -1)))[0], array.shape[0] / 44, colour, True)
    return array


def point_colour(index: int, count: int) -> Colour:
    """A bright colour for point `index` of `count`, neighbours far apart.

    >>> point_colour(0, 5) != point_colour(1, 5)
    True
    """
    hue = (index * 0.618034) % 1 if count > 1 else 0.09
    red, green, blue = colorsys.hls_to_rgb(hue, 0.56, 0.82)
    return round(red * 255), round(green * 255), round(blue * 255)


def _points(name: str, points: ArrayLike, count: int | None = None) -> np.ndarray:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or (count is not None and len(array) != count):
        raise BadInput(f"{name} has shape {array.shape}; give {count if count is not None else 'N'} points (x, y)")
    if not np.isfinite(array).all():
        raise BadInput(f"{name}: point {int(np.argmin(np.isfinite(array).all(1)))} is not finite; give numbers")
    return array


def _flags(name: str, flags: ArrayLike, count: int) -> np.ndarray:
    array = np.asarray(flags, dtype=bool).ravel()
    if len(array) != count:
        raise BadInput(f"{name} has {len(array)} values for {count} points; give one for each")
    return array


def _fixed(place: np.ndarray) -> tuple[int, int]:
    # OpenCV's pixel centres lie at whole numbers, ours at a half.
    x, y = np.round((np.asarray(place) - 0.5) * 2**_BITS).astype(int)
    return int(x), int(y)


def _line(array: np.ndarray, start: np.ndarray, end: np.ndarray, colour: Colour, thick: int) -> None:
    cv2.line(array, _fixed(start), _fixed(end), colour, thick, cv2.LINE_AA, _BITS)


def _dot(array: np.ndarray, place: np.ndarray, radius: float, colour: Colour, strong: bool) -> None:
    inner = colour if strong else tuple((c + 255) // 2 for c in colour)
    cv2.circle(array, _fixed(place), round((radius + 1.6) * 2**_BITS), (255, 255, 255), -1, cv2.LINE_AA, _BITS)
    cv2.circle(array, _fixed(place), round(radius * 2**_BITS), inner, -1, cv2.LINE_AA, _BITS)


def _ring(array: np.ndarray, place: np.ndarray, radius: float, colour: Colour) -> None:
    for wide, ink in ((4, (20, 20, 20)), (2, colour)):
        cv2.circle(array, _fixed(place), round(radius * 2**_BITS), ink, wide, cv2.LINE_AA, _BITS)


def _number(picture: Image.Image, a: np.ndarray, b: np.ndarray, scores: np.ndarray | None, kept: np.ndarray) -> None:
    pen, face = ImageDraw.Draw(picture), font(12)
    for i in range(len(a)):
        for place in (a[i], b[i]):
            pen.text((place[0], place[1]), str(i + 1), fill=(255, 255, 255), font=face, anchor="mm",
                     stroke_width=1, stroke_fill=(30, 30, 30))  # fmt: skip
        if scores is not None:
            text = f"{scores[i]:.2f}" if kept[i] else f"{scores[i]:.2f}?"
            inward = b[i][0] + 60 > picture.width
            pen.text((b[i][0] + (-14 if inward else 14), b[i][1]), text, fill=(255, 255, 255), font=face,
                     anchor="rm" if inward else "lm", stroke_width=2, stroke_fill=(20, 20, 20))  # fmt: skip
