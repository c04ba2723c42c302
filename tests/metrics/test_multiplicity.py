"""Multiplicity: Holm's procedure by hand, and a family of true nulls that looks clear by chance."""

from __future__ import annotations

import numpy as np
import pytest

from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import Difference, difference
from shiftless.metrics.multiplicity import clear_gains, holm, multiplicity, p_value


def test_holm_by_hand():
    # 0.01 <= 0.05 / 4; 0.015 <= 0.05 / 3; 0.03 > 0.05 / 2, so it and all larger ones stay.
    assert holm([0.03, 0.01, 0.04, 0.015]) == [False, True, False, True]
    assert holm([0.03]) == [True]
    assert holm([]) == []
    with pytest.raises(BadInput, match="between 0 and 1"):
        holm([1.2])


@pytest.mark.parametrize(
    "gain", [Difference(0.2, 0.001, 0.3), Difference(-0.1, -0.5, -0.001), Difference(0.1, 0.1, 0.1)]
)
def test_a_p_value_is_below_five_percent_exactly_where_the_interval_leaves_zero_out(gain):
    assert gain.clear
    assert p_value(gain) < 0.05
    wider = Difference(gain.value, min(gain.low, -0.001), max(gain.high, 0.001))
    assert not wider.clear
    assert p_value(wider) > 0.05


def test_many_gains_of_nothing_are_seldom_clear_after_the_correction():
    """A hundred tables of 40 gains that are none: each has about two clear intervals, and hardly one after Holm."""
    rng = np.random.default_rng(0)
    alone, after = [], []
    for _ in range(100):
        gains = [difference(*rng.normal(0, 1, (2, 60)), draws=400) for _ in range(40)]
        alone.append(sum(gain.clear for gain in gains))
        after.append(any(clear_gains(gains)))
    assert 1.2 < np.mean(alone) < 3.2
    assert np.mean(after) < 0.12
    assert f"40 gains: {alone[-1]} of their 95% intervals leave zero out (2.0 would by chance" in multiplicity(gains)
