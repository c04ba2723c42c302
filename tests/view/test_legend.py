from __future__ import annotations

import numpy as np
import pytest

from shiftless.errors import BadInput
from shiftless.view.legend import legend, uncertainty_bar

PALETTE = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]
NAMES = ["ear", "mane", "tail"]


def rows_of(picture, colour) -> np.ndarray:
    return np.flatnonzero((np.array(picture) == colour).all(2).any(1))


def test_swatches_stand_in_the_order_of_the_classes_and_absent_ones_are_left_out():
    picture = legend(NAMES, PALETTE, [0.1, 0.0, 0.9], width=150)
    red, green, blue = (rows_of(picture, colour) for colour in PALETTE)
    assert not len(green)
    assert red.max() < blue.min()


def test_given_classes_are_shown_whatever_their_share():
    picture = legend(NAMES, PALETTE, [0.0, 1.0, 0.0], present=[True, False, False])
    assert len(rows_of(picture, PALETTE[0]))
    assert not len(rows_of(picture, PALETTE[1]))


@pytest.mark.parametrize("width", [90, 200, 500])
def test_a_legend_takes_no_more_than_its_width(width):
    names = [f"a part with a long name {k}" for k in range(34)]
    picture = legend(names, np.arange(102).reshape(34, 3), np.full(34, 1 / 34), width=width)
    assert picture.width <= width


def test_two_columns_are_half_as_high():
    assert legend(NAMES[:2], PALETTE[:2], width=60).height == 2 * legend(NAMES[:2], PALETTE[:2], width=500).height


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"palette": PALETTE[:2]}, "give 3 colours"),
        ({"share": [0.5, 0.5]}, "for each of 3 classes"),
        ({"share": [0.5, 0.5, 1.5]}, "from 0 to 1"),
        ({"share": [0.5, np.nan, 0.5]}, "from 0 to 1"),
        ({"share": [0, 0, 0]}, "show at least one"),
        ({"present": [True]}, "a flag each"),
    ],
)
def test_what_a_legend_refuses(changes, message):
    with pytest.raises(BadInput, match=message):
        legend(**{"classes": NAMES, "palette": PALETTE, **changes})


def test_the_bar_brightens_from_left_to_right_and_says_its_ends():
    bar = np.array(uncertainty_bar(0.5, width=200)).astype(int).sum(2)
    ramp = bar[5]
    assert ramp[-1] > 1.5 * ramp[0]
    assert (np.diff(ramp) >= -6).all()
    assert (bar[20:, :12] < 600).any()
    assert (np.array(uncertainty_bar(0.5, width=200)) != np.array(uncertainty_bar(0.7, width=200))).any()
    with pytest.raises(BadInput, match="above 0"):
        uncertainty_bar(float("nan"))
