from __future__ import annotations

import numpy as np
import pytest

from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import difference, interval, saving


def test_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    totals = rng.integers(4, 20, (200, 120))
    counts = rng.binomial(totals, 0.6)
    result = [interval(c, t, draws=400, seed=i) for i, (c, t) in enumerate(zip(counts, totals))]
    assert 0.88 <= np.mean([low <= 0.6 <= high for low, high in result]) <= 0.99


def test_equals_the_textbook_error_of_a_mean():
    values = np.random.default_rng(1).random(400)
    low, high = interval(values, draws=4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.06)
    assert low < values.mean() < high


def test_pairs_are_resampled_not_points():
    # Ten pairs of a hundred points, each all right or all wrong: the error is that of ten draws, not of a thousand.
    low, high = interval([100, 0] * 5, [100] * 10)
    assert high - low > 0.5


def test_a_fixed_seed_gives_fixed_numbers_in_blocks_or_not():
    counts, totals = [1, 2, 3, 0, 2], [4, 4, 5, 3, 2]
    assert interval(counts, totals) == interval(counts, totals)
    assert interval(counts, totals, seed=1) != interval(counts, totals, seed=2)


def test_pairing_sees_a_small_gain_that_separate_intervals_hide():
    rng = np.random.default_rng(2)
    totals = np.full(200, 10)
    theirs = rng.integers(0, 10, 200)
    ours = theirs + (rng.random(200) < 0.3)
    gain = difference(ours, theirs, totals)
    assert gain.clear
    assert gain.low < gain.value < gain.high
    assert interval(ours, totals)[0] < interval(theirs, totals)[1]
    same = difference(ours, ours, totals)
    assert same == (0, 0, 0)
    assert not same.clear


@pytest.mark.parametrize(
    ("counts", "totals"), [([], None), ([1, 2], [1]), ([1, 2], [3, 0])], ids=["none", "lengths", "empty pair"]
)
def test_bad_input(counts, totals):
    with pytest.raises(BadInput):
        interval(counts, totals)


def test_difference_needs_the_same_pairs():
    with pytest.raises(BadInput, match="same pairs"):
        difference([1, 2], [1, 2, 3])


def test_everybody_saving_a_fifth_is_a_fifth_without_doubt():
    before = np.random.default_rng(3).exponential(1, 20)
    assert saving(before, 0.8 * before) == pytest.approx((0.2, 0.2, 0.2))


def test_a_saving_takes_numerator_and_denominator_from_the_same_photos():
    """By hand: two photos, 1 -> 0 and 3 -> 3. A resample saves all, a quarter or nothing."""
    result = saving([1, 3], [0, 3])
    assert result.value == 0.25
    assert (result.low, result.high) == (0, 1)
    rng = np.random.default_rng(4)
    before = rng.exponential(1, 60)
    after = before * rng.uniform(0.6, 1.0, 60)
    ratio = 1 - after.mean() / before.mean()  # the delta method's error of a ratio
    error = np.std((before - after) - ratio * before, ddof=1) / np.sqrt(60) / before.mean()
    result = saving(before, after, draws=4000)
    assert result.high - result.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_nothing_is_saved_where_nothing_was():
    assert saving([0, 0], [0, 0]) == (0, 0, 0)
    assert saving([0, 1], [0, 0.5]).value == 0.5
    with pytest.raises(BadInput, match="same photos"):
        saving([1, 2], [1, 2, 3])
