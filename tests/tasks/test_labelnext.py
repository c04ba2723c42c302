"""Which photos to label next: worked by hand, and the same whatever the order of the photos."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftless.errors import BadInput
from shiftless.tasks.labelnext import label_next


def turned(*degrees: float) -> np.ndarray:
    """Descriptors of length 1; two that lie an angle apart have the distance 2 sin(angle / 2)."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def names(chosen) -> list[str]:
    return [one.name for one in chosen]


def test_near_duplicates_are_not_both_chosen():
    photos = ["a", "a again", "b"]
    chosen = label_next(photos, [0.9, 0.89, 0.1], turned(0, 1, 90), 2)
    assert names(chosen) == ["a", "b"]
    assert label_next(photos, [0.9, 0.89, 0.1], turned(0, 1, 90), 2, diversity=0)[1].name == "a again"


def test_of_equally_different_photos_the_more_uncertain_comes_first():
    given = (["a", "b", "c"], [0.1, 0.3, 0.2], turned(60, -60, 180), 3)
    chosen = label_next(*given, labelled=turned(0), labelled_names=["old"])
    assert chosen[0].name == "c"  # 0.2 x 2 is more than 0.3 x 1
    assert names(label_next(given[0], given[1], np.eye(3), 3, labelled=[(1, 1, 1)])) == ["b", "c", "a"]


def test_uncertainty_times_distance_by_hand():
    """The first is the most uncertain; then 0.5 x 1 (b, 60 degrees from a) beats 0.2 x 2 (c, 180 degrees)."""
    chosen = label_next(["a", "b", "c"], [0.9, 0.5, 0.2], turned(0, 60, 180), 3)
    assert [(one.name, one.nearest) for one in chosen] == [("a", None), ("b", "a"), ("c", "b")]
    assert [one.distance for one in chosen] == pytest.approx([math.inf, 1, math.sqrt(3)], abs=1e-6)
    assert [one.uncertainty for one in chosen] == [0.9, 0.5, 0.2]
    assert chosen[2].reason() == "uncertainty 0.2; 1.7 from b, the nearest photo labelled or chosen before"


def test_what_is_like_a_labelled_photo_waits():
    chosen = label_next(["a", "b"], [0.9, 0.2], turned(2, 90), 2, labelled=turned(0, 40))
    assert [(one.name, one.nearest) for one in chosen] == [("b", "labelled photo 2"), ("a", "labelled photo 1")]


def test_ties_go_by_name():
    assert names(label_next(["c", "a", "b"], [0.5] * 3, np.eye(3), 3)) == ["a", "b", "c"]
    assert names(label_next(["c", "a", "b"], [0.5] * 3, np.ones((3, 2)), 3)) == ["a", "b", "c"]


def test_where_nothing_is_uncertain_the_different_come_first_and_where_nothing_differs_the_uncertain():
    certain = label_next(["a", "b", "c"], [0, 0, 0], turned(0, 10, 120), 3)
    assert names(certain) == ["a", "c", "b"]
    assert names(label_next(["a", "b", "c"], [0.1, 0.3, 0.2], np.ones((3, 2)), 3)) == ["b", "c", "a"]


def test_more_photos_than_there_are_gives_all_once():
    assert sorted(names(label_next(["a", "b"], [0.1, 0.2], turned(0, 9), 10))) == ["a", "b"]


def test_the_length_of_a_descriptor_is_no_matter_however_long():
    long = turned(0, 60, 180) * np.array([[1e-30], [1e30], [1e300]])
    given = (["a", "b", "c"], [0.9, 0.5, 0.2])
    assert names(label_next(*given, long, 3)) == names(label_next(*given, turned(0, 60, 180), 3))
    assert len(label_next(*given, np.zeros((3, 4)), 3)) == 3


@given(st.data())
def test_the_order_of_the_photos_is_no_matter_and_each_choice_is_the_best(data):
    count = data.draw(st.integers(1, 7))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    doubts, vectors = rng.integers(0, 4, count) / 4, rng.integers(-1, 2, (count, 3)) * 1.0
    labelled = rng.standard_normal((data.draw(st.integers(0, 2)), 3))
    photos = [f"{k}.jpg" for k in range(count)]
    chosen = label_next(photos, doubts, vectors, count, labelled=labelled)
    order = rng.permutation(count)
    again = label_next([photos[k] for k in order], doubts[order], vectors[order], count, labelled=labelled)
    assert chosen == again
    assert len(set(names(chosen))) == count

    def unit(v):
        return v / max(np.linalg.norm(v), 1e-12)

    known = [unit(v) for v in labelled]
    left = dict(zip(photos, zip(doubts, map(unit, vectors))))
    for one in chosen:
        worth = {n: d * min((np.linalg.norm(v - k) for k in known), default=1.0) for n, (d, v) in left.items()}
        assert worth[one.name] >= max(worth.values()) - 1e-6
        known.append(left.pop(one.name)[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"uncertainty": [0.1, np.nan]}, r"^b: its uncertainty is nan"),
        ({"uncertainty": [-0.1, 0.1]}, r"^a: its uncertainty is -0\.1"),
        ({"uncertainty": [0.1]}, "for 2 photos"),
        ({"names": [], "uncertainty": []}, "no unlabelled photos"),
        ({"descriptors": [(0, 1), (np.nan, 1)]}, "descriptors: row 1 is not finite"),
        ({"descriptors": [(0, 1)]}, "give 2 rows"),
        ({"labelled": [(0, np.inf)]}, "labelled: row 0 is not finite"),
        ({"labelled": [(0, 1, 2)]}, "3 numbers a photo, the others 2"),
        ({"labelled": [(0, 1)], "labelled_names": ["a", "b"]}, "labelled_names: 2 for 1"),
        ({"n": 0}, "1 or more"),
        ({"n": 1.5}, "1 or more"),
        ({"diversity": -1}, "0 to 10"),
        ({"diversity": np.nan}, "0 to 10"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(changes, message):
    given = {"names": ["a", "b"], "uncertainty": [0.1, 0.2], "descriptors": turned(0, 90), "n": 1}
    with pytest.raises(BadInput, match=message):
        label_next(**{**given, **changes})
