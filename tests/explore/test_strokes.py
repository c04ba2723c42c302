"""What a brush paints: worked by hand, and the same at whatever pace it was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftless.errors import BadInput
from shiftless.explore.strokes import ClassColours, Stroke, paint

EMPTY = np.full((6, 8), 255, np.uint8)
PLACES = st.tuples(st.floats(-4, 12), st.floats(-4, 10))
SOME = settings(max_examples=15)


def stroke(label, radius, *points):
    return Stroke(label, radius, np.array(points, float))


def test_a_dot_is_a_disc_of_pixel_centres():
    mask = paint(EMPTY, [stroke(3, 1.5, (5.5, 4.5))])
    ys, xs = np.nonzero(mask == 3)
    assert sorted(zip(xs.tolist(), ys.tolist())) == [
        (x, y) for x in range(4, 7) for y in range(3, 6)
    ]  # the corners lie 1.41 away
    assert (EMPTY == 255).all()  # what it was painted on stays


def test_a_brush_thinner_than_a_pixel_paints_the_pixels_of_its_points():
    assert np.argwhere(paint(EMPTY, [stroke(1, 0.1, (5.9, 4.1))]) == 1).tolist() == [[4, 5]]


def test_later_strokes_lie_on_top_and_the_eraser_clears():
    mask = paint(EMPTY, [stroke(1, 2, (3, 4)), stroke(2, 1, (3, 4)), stroke(255, 0.6, (2.5, 3.5))])
    assert mask[3, 2] == 255
    assert mask[3, 3] == 2
    assert mask[3, 1] == 1


@SOME
@given(st.lists(PLACES, min_size=1, max_size=4), st.floats(0.2, 3))
def test_a_pixel_is_painted_iff_its_centre_is_near_the_line(points, radius):
    mask = paint(EMPTY, [stroke(1, radius, *points)])
    ends = points[1:] or points
    for (y, x), value in np.ndenumerate(mask):
        near = min(distance((x + 0.5, y + 0.5), a, b) for a, b in zip(points, ends))
        holds_point = any(x <= px < x + 1 and y <= py < y + 1 for px, py in points)
        if abs(near - radius) > 1e-9:
            assert (value == 1) == (near < radius or holds_point)


def distance(p, a, b):
    p, a, b = map(np.array, (p, a, b))
    length = ((b - a) ** 2).sum()
    along = 0 if length == 0 else np.clip((p - a) @ (b - a) / length, 0, 1)
    return np.linalg.norm(p - a - along * (b - a))


@SOME
@given(PLACES, PLACES, st.floats(0.2, 3), st.floats(0.1, 0.9))
def test_a_stroke_does_not_depend_on_how_many_points_it_has(a, b, radius, share):
    middle = tuple(np.array(a) + share * (np.array(b) - np.array(a)))
    once, twice = (paint(EMPTY, [stroke(1, radius, *points)]) for points in ((a, b), (a, middle, b)))
    assert (once != twice).sum() <= 1  # the pixel that the middle point lies in, of a thin brush


@pytest.mark.parametrize(
    ("classes", "fault"),
    [
        ([{"name": "a", "colour": "#000000"}], "2 to 64"),
        ([{"name": "a", "colour": "#000000"}] * 2, "called 'a' too"),
        ([{"name": "a", "colour": "#000000"}, {"name": " ", "colour": "#000000"}], "class 1: give a name"),
        ([{"name": "a", "colour": "#000000"}, {"name": "b", "colour": "red"}], "'red' is no colour"),
        ([{"name": "a", "colour": "#000000"}, "b"], "class 1"),
        ("ab", "2 to 64"),
    ],
)
def test_classes_are_checked(classes, fault):
    with pytest.raises(BadInput, match=fault):
        ClassColours.of(classes)
