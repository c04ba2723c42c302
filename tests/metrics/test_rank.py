"""Rank correlation: scipy's own without groups, and blind to what must not count with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from shiftless.errors import BadInput
from shiftless.metrics.rank import spearman, spearman_interval

numbers = st.lists(st.integers(-5, 5), min_size=3, max_size=20)


@given(numbers, st.randoms())
def test_without_groups_it_is_scipys(values, random):
    other = values[:]
    random.shuffle(other)
    expected = spearmanr(values, other).statistic if len(set(values)) > 1 else 0.0
    assert spearman(values, other) == pytest.approx(expected, abs=1e-9)


def test_groups_take_away_what_lies_between_them():
    x = np.array([1, 2, 3, 101, 102, 103])
    y = np.array([3, 2, 1, 103, 102, 101])
    assert spearman(x, y) > 0
    assert spearman(x, y, groups="aaabbb") == -1
    assert spearman(x, y, groups="abcdef") == 0  # nothing varies within a group of one


@given(numbers)
def test_a_monotone_change_of_either_row_changes_nothing(values):
    other = [value**2 - 3 * i for i, value in enumerate(values)]
    assert spearman(values, other) == spearman([v**3 + 7 for v in values], np.exp(np.array(other, float) / 40))


def test_the_interval_narrows_with_more_and_holds_the_value():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = x + rng.normal(size=200)
    wide, narrow = spearman_interval(x[:20], y[:20], draws=400), spearman_interval(x, y, draws=400)
    assert narrow.low <= narrow.value <= narrow.high
    assert narrow.high - narrow.low < (wide.high - wide.low) / 2


def test_clusters_are_drawn_together():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 12))
    twice_x, twice_y = np.repeat(x, 8), np.repeat(y, 8)
    alone = spearman_interval(x, y, draws=400)
    together = spearman_interval(twice_x, twice_y, clusters=np.repeat(np.arange(12), 8).tolist(), draws=400)
    apart = spearman_interval(twice_x, twice_y, draws=400)
    assert together.high - together.low > 0.8 * (alone.high - alone.low)
    assert apart.high - apart.low < 0.6 * (alone.high - alone.low)


@pytest.mark.parametrize(("x", "y", "groups"), [([1], [1], None), ([1, 2], [1], None), ([1, 2], [2, 1], "a")])
def test_rows_that_do_not_fit_are_refused(x, y, groups):
    with pytest.raises(BadInput):
        spearman(x, y, groups)
