"""Kept: the photos that shifted most, and no more of them than asked for."""

from __future__ import annotations

import numpy as np
import pytest

from shiftless.auditing.kept import Kept
from shiftless.auditing.measures import HEADLINE
from shiftless.auditing.seen import Seen

EMPTY = np.zeros((8, 8, 3), np.uint8)


def seen(name: str, shift: float) -> Seen:
    return Seen(name, EMPTY, EMPTY, [], [], [], {HEADLINE: np.array([shift, shift / 2])}, {})


@pytest.mark.parametrize(("most", "names"), [(0, ""), (2, "dc"), (3, "dca"), (9, "dcab")])
def test_the_most_shifted_are_kept_in_order(most, names):
    kept = Kept(most)
    for name, shift in zip("abcd", (0.2, 0.1, 0.3, 0.4)):
        kept(seen(name, shift))
    assert "".join(one.name for one in kept) == names
    assert len(kept) == len(names)


def test_of_equals_the_first_are_kept():
    kept = Kept(2)
    for name in "abc":
        kept(seen(name, 0.5))
    assert [one.name for one in kept] == ["a", "b"]
