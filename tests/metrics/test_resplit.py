"""Scores over splits: by hand, and intervals that shrink with neither photos nor splits alone."""

import numpy as np
import pytest

from shiftless.errors import BadInput
from shiftless.metrics.resplit import split_difference, split_interval, split_scores
from shiftless.metrics.segmentation import Confusion


def one(right):
    """Four pixels, two of each class, of which so many are right."""
    truth = np.array([[0, 1, 0, 1]])
    return Confusion(2).add(truth, np.where(np.arange(4) < right, truth, 1 - truth))


def test_scores_are_those_of_each_splits_summed_counts():
    splits = [{0: one(4), 1: one(4)}, {1: one(4), 2: one(0)}]
    assert split_scores(splits).tolist() == [1.0, pytest.approx(1 / 3)]  # 4 right of 12 in each class's union


def test_an_interval_holds_the_mean_and_the_paired_one_is_narrower():
    rng = np.random.default_rng(0)
    hard = rng.integers(0, 4, 30)  # what a photo gives, whoever looks
    pools = [rng.permutation(30)[:15] for _ in range(5)]
    theirs = [{int(p): one(hard[p]) for p in pool} for pool in pools]
    ours = [{int(p): one(hard[p] + 1) for p in pool} for pool in pools]
    low, high = split_interval(ours)
    assert low < split_scores(ours).mean() < high
    gain = split_difference(ours, theirs)
    assert gain.clear
    assert gain.low < gain.value < gain.high
    assert gain.high - gain.low < high - low


def test_photos_that_splits_share_are_resampled_together():
    rng = np.random.default_rng(1)
    right = rng.integers(0, 5, 40)
    shared = [{i: one(right[i]) for i in range(40)}] * 4
    apart = [{40 * s + i: one(right[i]) for i in range(40)} for s in range(4)]
    widths = [np.diff(split_interval(splits))[0] for splits in (shared, apart)]
    assert widths[0] > 1.5 * widths[1]  # four copies of 40 photos are no 160 photos


def test_other_photos_are_refused():
    with pytest.raises(BadInput, match="same splits of the same photos"):
        split_difference([{0: one(4)}], [{1: one(4)}])
    with pytest.raises(BadInput, match="at least one split with a test photo"):
        split_interval([{}])
