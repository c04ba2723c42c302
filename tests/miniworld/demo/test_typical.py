"""The pair that the demo shows is chosen by its rule, and not among those that the demo's tables score."""

from __future__ import annotations

import numpy as np
import pytest

from miniworld.demo import typical as room
from miniworld.demo.typical import PAIRS, judged, typical
from miniworld.tables.pairs import mini_pairs
from shiftless.backbones.registry import load
from shiftless.bench.pairs import score
from shiftless.metrics.bootstrap import interval
from shiftless.recipe import Recipe
from shiftless.tasks.correspondence import match


@pytest.fixture(scope="module")
def mini():
    return load("mini", device="cpu")


def test_the_middle_and_the_lower_quarter_of_validation_pairs_are_taken(mini, monkeypatch):
    recipe = Recipe(timestep=100, taps=("up0",))
    pairs = mini_pairs("val", 9)
    every = judged(mini, recipe, pairs)
    scores = score(pairs, [one.matches.points for one in every])
    assert [one.right.sum() for one in every] == scores.bbox.tolist()
    found = typical(mini, recipe, 9)
    middle, quarter = found.middle, found.quarter
    shares = np.sort(scores.bbox / scores.totals)
    assert middle.share == np.median(shares)
    assert quarter.share == shares[2]
    value, low, high = found.overall()
    assert value == scores.bbox.sum() / scores.totals.sum()
    order = np.argsort(scores.bbox / scores.totals, kind="stable")
    assert (low, high) == interval(scores.bbox[order], scores.totals[order])
    assert low < value < high
    assert {middle.pair.id, quarter.pair.id} <= {pair.id for pair in pairs}
    assert all(one.pair.id.startswith("val-") for one in (middle, quarter))
    assert PAIRS % 2 == 1
    requested = []
    monkeypatch.setattr(room, "mini_pairs", lambda split, n: requested.append((split, n)) or mini_pairs(split, 1))
    typical(mini, recipe)
    assert requested == [("val", PAIRS)]


def test_the_features_of_the_pair_are_those_that_matched(mini):
    (one,) = judged(mini, Recipe(timestep=100, taps=("up0",)), mini_pairs("val", 1))
    again = match(*one.maps, one.pair.source_points)
    assert np.array_equal(again.points, one.matches.points)
