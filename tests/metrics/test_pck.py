from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shiftless.errors import BadInput
from shiftless.metrics.pck import hits, longer_side, pck, per_image, pooled

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens" / "compute_pck.json").read_text())["cases"]
POINTS = arrays(np.float64, (5, 2), elements=st.floats(0, 500))


@pytest.mark.parametrize("case", GOLDENS)
def test_equals_the_reference_point_by_point(case):
    predicted, target = np.array(case["predicted_yx"])[:, ::-1], np.array(case["target_yx"])[:, ::-1]
    width, height = case["image_size_wh"]
    for rule, size in (("img", (height, width)), ("bbox", case["bbox_ltrb"])):
        assert hits(predicted, target, size, case["threshold"]).tolist() == case[f"correct_{rule}"]
        assert pck(predicted, target, size, case["threshold"]) == case[f"pck_{rule}"]


def test_by_hand_image_and_box():
    # Image 200 wide, 120 high: 20 pixels allowed. Box 100 x 50: 10 pixels allowed.
    target = np.full((4, 2), 50.0)
    predicted = target + [(20, 0), (0, 10), (12, 16), (20.01, 0)]  # distances 20, 10, 20, 20.01
    assert hits(predicted, target, (120, 200)).tolist() == [True, True, True, False]
    assert hits(predicted, target, (10, 10, 110, 60)).tolist() == [False, True, False, False]


@pytest.mark.parametrize("side", [3, 7, 70, 130, 170, 290, 333, 512])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.15, 0.29, 0.3])
def test_a_point_on_the_threshold_counts_whatever_the_last_bit(side, alpha):
    exact = round(alpha * 100) * side / 100
    for shift in (0.0, 0.5, 1 / 3, 97.1):
        target = np.array([[shift, shift]])
        assert pck(target + [exact, 0], target, (side, 1), alpha) == 1
        assert pck(target + [exact * (1 + 1e-6), 0], target, (side, 1), alpha) == 0


def test_pooled_weighs_points_and_per_image_weighs_pairs():
    assert pooled([1, 8], [2, 8]) == 0.9
    assert per_image([1, 8], [2, 8]) == 0.75


@given(POINTS, POINTS, st.floats(0.25, 4))
def test_scaling_an_image_changes_nothing_but_rounding(predicted, target, scale):
    plain, scaled = (
        hits(predicted, target, (300, 500)),
        hits(predicted * scale, target * scale, (300 * scale, 500 * scale)),
    )
    clear = np.abs(np.hypot(*(predicted - target).T) - 50) > 1e-6
    assert (plain == scaled)[clear].all()


@given(POINTS, POINTS)
def test_a_looser_threshold_never_loses_a_hit(predicted, target):
    assert (hits(predicted, target, (300, 500), 0.05) <= hits(predicted, target, (300, 500), 0.1)).all()


@pytest.mark.parametrize(
    ("predicted", "target", "size", "alpha", "says"),
    [
        ([(1, 2)], [(1, 2), (3, 4)], (9, 9), 0.1, "predicted has 1 points and target 2"),
        ([(1, float("nan"))], [(1, 2)], (9, 9), 0.1, "predicted: point 0 is not finite"),
        ([], [], (9, 9), 0.1, "N >= 1"),
        ([1, 2], [1, 2], (9, 9), 0.1, "N x 2"),
        ([(1, 2)], [(1, 2)], (9, 9, 3, 3), 0.1, "x1 > x0"),
        ([(1, 2)], [(1, 2)], (9,), 0.1, r"\(h, w\)"),
        ([(1, 2)], [(1, 2)], (9, 9), 0, "alpha=0"),
    ],
)
def test_bad_input_is_one_clear_line(predicted, target, size, alpha, says):
    with pytest.raises(BadInput, match=says) as caught:
        hits(predicted, target, size, alpha)
    assert "\n" not in str(caught.value)


def test_longer_side_of_box_and_image():
    assert longer_side((30, 40)) == 40
    assert longer_side((5, 5, 15, 45)) == 40
