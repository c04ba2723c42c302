from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file

from shiftless.errors import BadInput
from shiftless.metrics.iou import ious
from shiftless.metrics.segmentation import IGNORE, Confusion, miou_difference, miou_interval

TRUTH = np.array([[0, 0, 0, 1], [1, 1, IGNORE, IGNORE]], np.uint8)
FOUND = np.array([[0, 0, 1, 1], [1, 3, 1, 3]], np.uint8)
MASKS = arrays(np.uint8, (2, 4, 5), elements=st.sampled_from([0, 1, 2, 3, IGNORE]))
FOUNDS = arrays(np.uint8, (2, 4, 5), elements=st.integers(0, 3))
GOLDENS = Path(os.environ.get("SHIFTLESS_GOLDENS") or Path(__file__).parents[1] / "goldens")


def test_by_hand():
    # Of six scored pixels: class 0 has 3, two of them found; class 1 has 3, two found, and one of class 0 taken for it;
    # class 2 is absent from both; class 3 is in no truth, but one pixel was taken for it.
    scores = Confusion(4).add(TRUTH, FOUND)
    assert scores.counts.tolist() == [[2, 1, 0, 0], [0, 2, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert scores.ious().tolist() == pytest.approx([2 / 3, 2 / 4, np.nan, 0], nan_ok=True)
    assert scores.miou() == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores.pixel_accuracy() == pytest.approx(4 / 6)
    assert scores.mean_accuracy() == pytest.approx((2 / 3 + 2 / 3) / 2)  # classes without pixels have no accuracy


def test_an_unscored_class_is_left_out_as_truth_and_wrong_as_a_prediction():
    scores = Confusion(4, unscored=(0,)).add(TRUTH, np.array([[0, 0, 1, 0], [1, 3, 1, 3]]))
    assert scores.counts.sum() == 3  # the pixels of class 1
    assert scores.ious().tolist() == pytest.approx([np.nan, 1 / 3, np.nan, 0], nan_ok=True)
    assert scores.miou() == pytest.approx(1 / 6)
    assert scores.pixel_accuracy() == scores.mean_accuracy() == pytest.approx(1 / 3)


def test_the_published_variant_by_hand():
    scores = Confusion(4, unscored=(0,)).add(TRUTH, FOUND)
    # Class 1: right 2, there 3, found 4 of all pixels (one on class 0, one on IGNORE): 2 / 5. Class 3: found only.
    assert scores.ious(absent="zero", masked=False).tolist() == pytest.approx([np.nan, 2 / 5, 0, 0], nan_ok=True)
    assert scores.miou(absent="zero", masked=False) == pytest.approx(2 / 15)
    assert scores.miou(absent="zero") == pytest.approx((2 / 3) / 3)


@pytest.mark.parametrize("case", "abc")
def test_equals_the_reference(case):
    """Set SHIFTLESS_GOLDENS to a folder with compute_iou.safetensors: maps that GATE's compute_iou was run on."""
    if not (GOLDENS / "compute_iou.safetensors").is_file():
        pytest.skip("SHIFTLESS_GOLDENS names no folder with compute_iou.safetensors")
    maps = load_file(GOLDENS / "compute_iou.safetensors")
    answer = json.loads((GOLDENS / "compute_iou.json").read_text())[case]
    ignored = answer["ignore_label"]
    scores = Confusion(answer["number_class"], (ignored,) if ignored == 0 else ())
    for truth, found in zip(maps[f"{case}.gt"], maps[f"{case}.pred"]):
        scores.add(truth, found)
    assert scores.miou(absent="zero", masked=False) == pytest.approx(answer["miou"], abs=1e-9)
    scored = [n for n in range(scores.classes) if n not in scores.unscored]
    assert scores.ious("zero", False)[scored] == pytest.approx(np.array(answer["per_class_4sig"]), abs=5e-5)
    assert scores.miou() > answer["miou"]  # classes that never occur are no failures


@settings(max_examples=30)
@given(MASKS, FOUNDS)
def test_counts_of_photos_add_up_to_those_of_the_set(truths, founds):
    each = [Confusion(4, (0,)).add(truth, found) for truth, found in zip(truths, founds)]
    whole = Confusion(4, (0,)).add(np.concatenate(truths), np.concatenate(founds))
    assert sum(each).counts.tolist() == whole.counts.tolist()
    assert sum(each).totals(masked=False).tolist() == whole.totals(masked=False).tolist()
    assert np.isnan(whole.miou()) or whole.miou(absent="zero", masked=False) <= whole.miou() <= 1


@settings(max_examples=30)
@given(MASKS, FOUNDS)
def test_what_is_predicted_on_ignored_pixels_changes_nothing(truth, found):
    other = np.where(truth == IGNORE, 3 - found, found)
    scores, others = Confusion(4).add(truth, found), Confusion(4).add(truth, other)
    assert scores.ious().tolist() == pytest.approx(others.ious().tolist(), nan_ok=True)
    assert scores.ious().tolist() == pytest.approx(ious(scores.counts).tolist(), nan_ok=True)


def test_nothing_scored_is_nan():
    empty = Confusion(2).add(np.full((2, 2), IGNORE), np.zeros((2, 2), int))
    assert np.isnan([empty.miou(), empty.pixel_accuracy(), empty.mean_accuracy()]).all()
    assert empty.miou(absent="zero") == 0


def test_the_most_classes_that_a_mask_can_hold():
    truth = np.array([[254, IGNORE]], np.uint8)
    assert Confusion(255).add(truth, truth - np.array([[0, 1]], np.uint8)).miou() == 1


def counted(right: float, seed: int) -> Confusion:
    """A photo of 100 pixels of two classes, this share of them right."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (10, 10))
    return Confusion(3).add(truth, np.where(rng.random((10, 10)) < right, truth, 1 - truth))


def test_intervals_by_photo():
    fair, good = [counted(0.7, seed) for seed in range(20)], [counted(0.8, seed) for seed in range(20)]
    low, high = miou_interval(fair)
    assert low < sum(fair).miou() < high < low + 0.1
    gain = miou_difference(good, fair)
    assert gain.value == pytest.approx(sum(good).miou() - sum(fair).miou())
    assert 0 < gain.low < gain.value < gain.high
    assert miou_difference(fair, fair) == (0, 0, 0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Confusion(256), "256 classes"),
        (lambda: Confusion(2, (2,)), "unscored"),
        (lambda: Confusion(2).add(np.zeros((2, 2), int), np.zeros((2, 3), int)), "masks of"),
        (lambda: Confusion(2).add(np.array([[2]]), np.array([[0]])), "true mask: holds the values 2"),
        (lambda: Confusion(2).add(np.array([[-1]]), np.array([[0]])), "true mask: holds the values -1"),
        (lambda: Confusion(2).add(np.array([[0]]), np.array([[IGNORE]])), "predicted mask: holds the values 255"),
        (lambda: Confusion(2).add(np.array([[0.5]]), np.array([[0]])), "true mask"),
        (lambda: Confusion(2).add(np.array([[1.0]]), np.array([[0]])), "give whole numbers"),
        (lambda: Confusion(2).miou(absent="drop"), "absent"),
        (lambda: Confusion(2) + Confusion(3), "cannot be summed"),
        (lambda: miou_interval([]), "no photos"),
        (lambda: miou_interval([Confusion(2), Confusion(3)]), "different classes"),
        (lambda: miou_difference([Confusion(2)], [Confusion(3)]), "same photos"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(BadInput, match=says):
        call()
