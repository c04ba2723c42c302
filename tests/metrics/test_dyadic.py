"""Pairs that share photos: the definition, coverage by simulation, the plain bootstrap where none is shared."""

from __future__ import annotations

import numpy as np
import pytest

from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import difference, interval
from shiftless.metrics.dyadic import dyadic_error, photos_shared

CHAIN = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "d"), ("b", "a"), ("e", "f")]


def test_the_variance_is_the_sum_over_pairs_of_pairs_with_a_common_photo():
    residuals = np.array([0.3, 0.2, 0.1, -0.4, 0.5, -0.7])
    products = [
        a * b for a, one in zip(residuals, CHAIN) for b, other in zip(residuals, CHAIN) if set(one) & set(other)
    ]
    assert sum(products) > (residuals**2).sum()
    assert dyadic_error(residuals, CHAIN) == pytest.approx(np.sqrt(sum(products) * 6 / 5))


def test_it_is_never_less_than_that_of_independent_pairs():
    residuals = np.array([1.0, -1.0])  # the two ways of one pair, whose sum is zero
    assert dyadic_error(residuals, [("a", "b"), ("b", "a")]) == pytest.approx(np.sqrt(2 * 2 / 1))


def test_without_a_shared_photo_it_is_the_plain_bootstrap():
    rng = np.random.default_rng(0)
    totals, pairs = rng.integers(4, 9, 40), [(f"{i}-a", f"{i}-b") for i in range(40)]
    ours, theirs = rng.binomial(totals, 0.6), rng.binomial(totals, 0.5)
    assert not photos_shared(pairs)
    assert interval(ours, totals, photos=pairs) == interval(ours, totals)
    assert difference(ours, theirs, totals, photos=pairs) == difference(ours, theirs, totals)
    shared = [*pairs[:-1], ("0-a", "1-b")]
    assert interval(ours, totals, photos=shared) != interval(ours, totals)
    assert interval(ours, totals, photos=shared) == pytest.approx(interval(ours, totals), abs=0.02)  # no jump


def dense(kinds: int = 8, each: int = 8) -> np.ndarray:
    """Every ordered pair within a kind, as PF-WILLOW has them: K 2 numbers of photos."""
    within = [(i, j) for i in range(each) for j in range(each) if i != j]
    return np.concatenate([np.array(within) + kind * each for kind in range(kinds)])


def sparse(pairs: int = 150, photos: int = 120) -> np.ndarray:
    """Pairs drawn from a pool of photos, each in two or three of them, as a part of SPair-71k has them."""
    rng = np.random.default_rng(5)
    return np.array([rng.choice(photos, 2, replace=False) for _ in range(pairs)])


@pytest.mark.parametrize("ends", [dense(), sparse()], ids=["dense", "sparse"])
@pytest.mark.parametrize("effect", [0.0, 0.07, 0.15])
def test_covers_the_truth_about_as_often_as_it_says(ends, effect):
    """Eight points a pair, found with probability 0.5 plus what both photos add; its mean over photos is 0.5."""
    rng, photos, plain = np.random.default_rng(1), [tuple(pair) for pair in ends.tolist()], []
    covers, gains, totals = [], [], np.full(len(ends), 8)
    for turn in range(250):
        ease, harm = (np.clip(rng.normal(0, effect, ends.max() + 1), -0.24, 0.24) for _ in range(2))
        ours = rng.binomial(totals, 0.5 + ease[ends].sum(1))
        low, high = interval(ours, totals, photos=photos)
        covers.append(low <= 0.5 <= high)
        theirs = rng.binomial(totals, 0.5 + harm[ends].sum(1))  # the two methods' difference is zero
        gain = difference(ours, theirs, totals, photos=photos)
        gains.append(gain.low <= 0 <= gain.high)
        if turn < 100:
            low, high = interval(ours, totals, draws=200)
            plain.append(low <= 0.5 <= high)
    assert 0.91 <= np.mean(covers) <= 0.985
    assert 0.91 <= np.mean(gains) <= 0.985
    if effect == 0.15:  # what taking pairs for independent did
        assert np.mean(plain) < (0.6 if len(ends) > 400 else 0.85)


def test_the_interval_stays_within_what_the_pairs_could_give():
    assert interval([4, 4, 4], [4, 4, 4], photos=[("a", "b"), ("b", "c"), ("a", "c")]) == (1, 1)
    low, high = interval([0, 0, 4, 1], [4, 4, 4, 4], photos=[("a", "b"), ("b", "c"), ("a", "c"), ("c", "d")])
    assert low == 0
    assert high == 1


def test_photos_of_every_pair_are_needed():
    with pytest.raises(BadInput, match="3 pairs with the photos of 2"):
        interval([1, 2, 3], photos=[("a", "b"), ("a", "b")])
