"""LabelMe's shapes: what is inside, which lies on top, and what is refused."""

from __future__ import annotations

import base64
import io
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shiftless.data.labelled import IGNORE, read_labelled
from shiftless.data.labelme import LabelMe
from shiftless.data.outline import fill_polygon
from shiftless.errors import BadInput

HW = (8, 10)
SQUARE = [[2, 2], [6, 2], [6, 6], [2, 6]]


def shape(label: str, points: list, kind: str = "polygon", **more: object) -> dict:
    return {"label": label, "points": points, "shape_type": kind, **more}


@pytest.fixture
def labelled(tmp_path):
    """Write a photo with these shapes beside it; the folder."""

    def write(*shapes: object, **fields: object):
        Image.new("RGB", HW[::-1]).save(tmp_path / "a.jpg")
        notes = {"shapes": list(shapes), "imageHeight": 8, "imageWidth": 10, **fields}
        (tmp_path / "a.json").write_text(json.dumps(notes))
        return tmp_path

    return write


def test_later_shapes_lie_on_top_and_the_rest_is_background(labelled):
    hole = shape("_background_", [[3, 3], [4, 4]], "rectangle")
    folder = labelled(shape("leg", SQUARE), shape("ear", [[4, 4], [10, 8]], "rectangle"), hole)
    photos = read_labelled(folder)
    assert photos.classes == ("background", "ear", "leg")  # in the order of the alphabet, whoever drew them
    truth = np.zeros(HW, int)
    truth[2:6, 2:6], truth[4:8, 4:10], truth[3, 3] = 2, 1, 0
    assert photos[0].mask().tolist() == truth.tolist()


def test_without_a_background_the_rest_has_no_label(labelled):
    folder = labelled(shape("leg", SQUARE), shape("__ignore__", [[2, 2], [4, 4]], "rectangle"))
    (folder / "classes.txt").write_text("leg\near")
    truth = np.full(HW, IGNORE)
    truth[2:6, 2:6] = 0
    truth[2:4, 2:4] = IGNORE
    assert read_labelled(folder)[0].mask().tolist() == truth.tolist()


def test_a_circle_and_a_pasted_mask(labelled):
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(cross * 255).save(buffer, format="PNG")
    pasted = shape("leg", [[1, 1], [3, 3]], "mask", mask=base64.b64encode(buffer.getvalue()).decode())
    mask = read_labelled(labelled(pasted, shape("ear", [[7.5, 4.5], [7.5, 3.5]], "circle")))[0].mask()
    assert mask[1:4, 1:4].tolist() == (cross * 2).tolist()
    assert mask[3:6, 6:9].tolist() == cross.tolist()


def test_what_reaches_out_of_the_photo_is_cut(labelled):
    mask = read_labelled(labelled(shape("leg", [[-5, -5], [1e9, -5], [1e9, 4], [-5, 4]])))[0].mask()
    assert mask.tolist() == np.repeat([[1], [0]], 4, 0).repeat(10, 1).tolist()


POINTS = st.lists(st.tuples(st.floats(-2, 12), st.floats(-2, 10)), min_size=3, max_size=6)


@settings(max_examples=30)
@given(POINTS, st.tuples(st.floats(0, 10), st.floats(0, 8)))
def test_polygons_that_share_an_edge_share_no_pixel(points, apex):
    # Two triangles on either side of one edge, in opposite directions: even-odd sums are exact.
    a, b = points[0], points[1]
    left, right = np.array([a, b, points[2]]), np.array([b, a, apex])
    whole = np.array([a, points[2], b, apex])  # their common outline
    assert (fill_polygon(left, HW) ^ fill_polygon(right, HW)).tolist() == fill_polygon(whole, HW).tolist()


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7)), min_size=3, max_size=6))
def test_pixels_away_from_the_outline_are_those_of_opencv(corners):
    points = np.array(corners) + 0.5
    theirs, outline = np.zeros(HW, np.uint8), np.zeros(HW, np.uint8)
    cv2.fillPoly(theirs, [np.array(corners, np.int32)], 1)
    cv2.polylines(outline, [np.array(corners, np.int32)], True, 1)
    ours = fill_polygon(points, HW)
    assert (ours == (theirs > 0))[outline == 0].all()


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ([shape("leg", [[1, 1]], "point")], r"shape 0 \('leg'\): a point, which covers no pixels"),
        ([shape("leg", SQUARE), shape("ear", [[1, 1], [2, 2]], "line")], "shape 1"),
        ([shape("leg", SQUARE, ["polygon"])], "covers no pixels"),
        ([shape("leg", SQUARE[:2])], "a polygon of 2 points"),
        ([shape("leg", [[1, float("nan")], [2, 2], [3, 1]])], "finite"),
        ([shape("leg", [[1, 10**400], [2, 2], [3, 1]])], "finite"),
        ([shape("leg", "abc")], "'points'"),
        ([shape("", SQUARE)], "name of a class"),
        ([{"label": "leg"}], "no 'points'"),
        (["leg"], "no 'label'"),
        ([shape("leg", SQUARE[:2], "mask")], "no 'mask'"),
        ([shape("leg", SQUARE[:2], "mask", mask="?")], "no PNG in base64"),
        ([shape("__ignore__", SQUARE)], "0 classes are drawn"),
    ],
)
def test_shapes_that_are_refused(labelled, shapes, says):
    folder = labelled(*shapes)
    with pytest.raises(BadInput, match=rf"{'a.json: .*' if 'drawn' not in says else ''}{says}"):
        read_labelled(folder)


def test_names_and_sizes_that_do_not_fit(labelled):
    folder = labelled(shape("leg", SQUARE), imageHeight=10, imageWidth=8)
    with pytest.raises(BadInput, match="8x10 pixels and their photo is 10x8; label it as it is seen"):
        read_labelled(folder)[0].mask()
    (folder / "classes.txt").write_text("background\near")
    with pytest.raises(BadInput, match="the label 'leg' is not among the classes: background, ear"):
        read_labelled(folder)


def test_a_file_without_shapes(labelled):
    path = labelled() / "a.json"
    path.write_text("{}")
    with pytest.raises(BadInput, match="no 'shapes'"):
        LabelMe(path)
