"""Multiplicity: how many of many gains would look clear by chance, and which are clear all the same."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import Difference

_NORMAL = NormalDist()


def p_value(gain: Difference, level: float = 0.95) -> float:
    """Return the two-sided p-value that belongs to a difference and its interval, by the normal law.

    The distance from the value to the end of the interval on zero's side is taken for the standard error, so that p is
    below 1 - level exactly where the interval leaves zero out.

    >>> round(p_value(Difference(0.2, 0.0, 0.5)), 3), p_value(Difference(0.0, 0.0, 0.0))
    (0.05, 1.0)
    """
    reach = gain.value - gain.low if gain.value > 0 else gain.high - gain.value
    if gain.value == 0:
        return 1.0
    if reach <= 0:
        return 0.0
    return 2 * _NORMAL.cdf(-abs(gain.value) / reach * _NORMAL.inv_cdf((1 + level) / 2))


def holm(p_values: Sequence[float], level: float = 0.95) -> list[bool]:
    """Say which of K tests reject at a probability of 1 - level that any true null hypothesis among them is rejected.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979. Raises BadInput for values outside
    [0, 1].

    >>> holm([0.01, 0.04, 0.03])
    [True, False, False]
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise BadInput("p-values must lie between 0 and 1")
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > (1 - level) / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def clear_gains(gains: Sequence[Difference]) -> list[bool]:
    """Say which of K gains differ from zero after Holm's correction for all of them, at 95%.

    >>> clear_gains([Difference(0.2, 0.1, 0.3), Difference(0.2, 0.01, 0.4)])
    [True, True]
    >>> clear_gains([Difference(0.2, 0.1, 0.3)] + [Difference(0.2, 0.01, 0.4)] * 4)
    [True, False, False, False, False]
    """
    return holm([p_value(gain) for gain in gains])


def multiplicity(gains: Sequence[Difference]) -> str:
    """Say in a line how many of K gains' intervals leave zero out, how many would by chance, and how many by Holm.

    >>> print(multiplicity([Difference(0.2, 0.1, 0.3)] + [Difference(0.0, -0.1, 0.1)] * 3))
    4 gains: 1 of their 95% intervals leave zero out (0.2 would by chance if there were no gain at all), 1 after Holm's
    correction for all 4
    """
    count, alone, after = len(gains), sum(gain.clear for gain in gains), sum(clear_gains(gains))
    return (
        f"{count} gains: {alone} of their 95% intervals leave zero out ({0.05 * count:.1f} would by chance if there "
        f"were no gain at all), {after} after Holm's correction for all {count}"
    )
